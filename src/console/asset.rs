//! A file of the page as it is sent: compressed, for browsers.

use std::sync::OnceLock;

use axum::{
    body::Bytes,
    http::{
        HeaderMap,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};

use crate::gzip::gzip;

/// A text that is the same for everybody and holds no secret, so its size may be seen.
pub(super) struct Asset {
    content_type: &'static str,
    text: Bytes,
    /// Made at the first request that takes it; empty if it could not be made.
    gzip: OnceLock<Bytes>,
}

impl Asset {
    pub(super) fn new(content_type: &'static str, text: impl Into<Bytes>) -> Self {
        Self { content_type, text: text.into(), gzip: OnceLock::new() }
    }

    /// Answers a request with these headers.
    pub(super) fn response(&self, request: &HeaderMap) -> Response {
        let content_type = (CONTENT_TYPE, self.content_type);
        match takes_gzip(request).then(|| self.gzip()).filter(|gzip| !gzip.is_empty()) {
            Some(gzip) => ([content_type, (CONTENT_ENCODING, "gzip")], gzip).into_response(),
            None => ([content_type], self.text.clone()).into_response(),
        }
    }

    fn gzip(&self) -> Bytes {
        self.gzip.get_or_init(|| gzip(&self.text).unwrap_or_default().into()).clone()
    }
}

/// Whether the client names gzip, and not with the weight 0.
fn takes_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|offer| {
        let (name, weight) = offer.split_once(';').unwrap_or((offer, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|it| it.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|it| it > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::body::to_bytes;
    use flate2::bufread::GzDecoder;

    use super::*;

    const TEXT: &str = "the same text again and again, the same text again and again";

    /// Returns the encoding of the response to such a request, and its body.
    async fn asked(accepts: &[&str]) -> (Option<String>, Bytes) {
        let mut headers = HeaderMap::new();
        for value in accepts {
            headers.append(ACCEPT_ENCODING, value.parse().unwrap());
        }
        let response = Asset::new("text/plain", TEXT).response(&headers);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain");
        let encoding = response.headers().get(CONTENT_ENCODING);
        let encoding = encoding.map(|it| it.to_str().unwrap().to_owned());
        (encoding, to_bytes(response.into_body(), usize::MAX).await.unwrap())
    }

    #[tokio::test]
    async fn a_client_that_takes_gzip_gets_it_and_any_other_the_text() {
        for accepts in
            [&["gzip"][..], &["gzip, deflate, br, zstd"], &["br", "x, GZIP;q=0.5"], &["gzip; q=1"]]
        {
            let (encoding, body) = asked(accepts).await;

            let mut text = String::new();
            GzDecoder::new(&*body).read_to_string(&mut text).unwrap();
            assert_eq!((encoding.as_deref(), text.as_str()), (Some("gzip"), TEXT), "{accepts:?}");
            assert!(body.len() < TEXT.len(), "{} bytes", body.len());
        }
        for accepts in
            [&[][..], &["identity"], &["br"], &["gzip;q=0"], &["gzip;q=0.0, br"], &["x-gzip"]]
        {
            assert_eq!(asked(accepts).await, (None, Bytes::from(TEXT)), "{accepts:?}");
        }
    }
}
