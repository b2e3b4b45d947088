//! Checks that a request is gRPC, and refuses it with an HTTP status if not.
//!
//! A hostile page can make a browser that holds a client certificate send requests here. Without a
//! CORS preflight it can only choose among a few content types, and `application/grpc` is not one
//! of them.

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use tonic::body::Body;

/// The largest metadata of a call, in bytes as HTTP/2 counts them: names, values, and 32 for each
/// field.
pub(super) const MAX_METADATA: usize = 16 * 1024;

/// Returns the response to a request that is not gRPC, `None` if it is.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response<Body>> {
    let mut response = Response::new(Body::empty());
    if request.method() != Method::POST {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    if !is_grpc(request.headers()) {
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Some(response);
    }
    None
}

/// Whether the content type is `application/grpc` with protobuf messages.
fn is_grpc(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (types.next(), types.next()) else { return false };
    let Ok(text) = one.to_str() else { return false };
    let kind = text.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/grpc")
        || kind.eq_ignore_ascii_case("application/grpc+proto")
}

/// Whether the metadata of a request is larger than [`MAX_METADATA`].
pub(super) fn is_too_large<B>(request: &Request<B>) -> bool {
    let headers = request.headers().iter();
    let weight: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    weight + request.uri().path().len() > MAX_METADATA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_posts_of_application_grpc_are_grpc() {
        for (content_types, expected) in [
            (&["application/grpc"][..], None),
            (&["application/grpc+proto"], None),
            (&["Application/GRPC; charset=utf-8"], None),
            (&[], Some(415)),
            (&[""], Some(415)),
            (&["application/json"], Some(415)),
            (&["text/plain"], Some(415)),
            (&["application/grpc-web"], Some(415)),
            (&["application/grpc-web+proto"], Some(415)),
            (&["application/grpc-web-text"], Some(415)),
            (&["application/grpc+json"], Some(415)),
            (&["application/grpcx"], Some(415)),
            (&["application/x-www-form-urlencoded"], Some(415)),
            (&["application/grpc", "text/plain"], Some(415)),
        ] {
            let mut request = Request::post("/").body(()).unwrap();
            for content_type in content_types {
                request.headers_mut().append(CONTENT_TYPE, content_type.parse().unwrap());
            }

            let status = refusal(&request).map(|response| response.status().as_u16());

            assert_eq!(status, expected, "{content_types:?}");
        }
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "BREW"] {
            let request =
                Request::builder().method(method).header(CONTENT_TYPE, "application/grpc");

            let response = refusal(&request.body(()).unwrap()).expect("a refusal");

            assert_eq!(
                (response.status().as_u16(), &response.headers()[ALLOW]),
                (405, &HeaderValue::from_static("POST")),
                "{method}"
            );
        }
    }
}
