//! Refuses what another site makes a browser send, and what reaches the console under a foreign
//! name (DNS rebinding); and the headers that keep the page to itself.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};

/// Scripts and styles are those of the program. Nothing that Stytch sends can become HTML: the page
/// has no policy for trusted types, so a browser refuses to parse text as HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const PROTECTION: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const FETCH_SITE: &str = "sec-fetch-site";
const FETCH_MODE: &str = "sec-fetch-mode";
const FETCH_DEST: &str = "sec-fetch-dest";

/// The names under which the console may be called.
pub(super) struct Gate {
    hosts: Vec<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Host,
    Site,
    ContentType,
}

impl Gate {
    /// Takes the address that the console listens on.
    pub(super) fn new(addr: SocketAddr) -> Self {
        let mut hosts = vec![addr.to_string(), format!("localhost:{}", addr.port())];
        // A browser leaves out the port that is the scheme's own.
        if addr.port() == 80 {
            hosts.extend(
                hosts.clone().iter().filter_map(|it| it.strip_suffix(":80")).map(Into::into),
            );
        }
        Self { hosts }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_own = |host: &str| self.hosts.iter().any(|it| it == host);
        let host = only(headers, HOST.as_str()).filter(|host| is_own(host));
        let host = host.ok_or(Refusal::Host)?;
        if uri.authority().is_some_and(|authority| !is_own(authority.as_str())) {
            return Err(Refusal::Host);
        }
        if !is_of_this_site(method, headers) {
            return Err(Refusal::Site);
        }
        if method != Method::POST {
            return Ok(());
        }
        // A form of another site sends neither, and older browsers send no `Sec-Fetch-Site`.
        if only(headers, ORIGIN.as_str()).and_then(|origin| origin.strip_prefix("http://"))
            != Some(host)
        {
            return Err(Refusal::Site);
        }
        match only(headers, CONTENT_TYPE.as_str()) {
            Some("application/json") => Ok(()),
            _ => Err(Refusal::ContentType),
        }
    }
}

/// Whether the page itself made the request, or its user did. Another site may link to the page.
fn is_of_this_site(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name, value| only(headers, name) == Some(value);
    let is_link = method == Method::GET && is(FETCH_MODE, "navigate") && is(FETCH_DEST, "document");
    match headers.contains_key(FETCH_SITE) {
        false => true,
        true => is(FETCH_SITE, "same-origin") || is(FETCH_SITE, "none") || is_link,
    }
}

/// Returns the value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok()).flatten()
}

/// Lets a request pass, or refuses it.
pub(super) async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(Refusal::Host) => {
            let hosts = gate.hosts.join(" or ");
            (StatusCode::FORBIDDEN, format!("the console answers as {hosts} only\n"))
                .into_response()
        }
        Err(Refusal::Site) => {
            (StatusCode::FORBIDDEN, "only the console's own page may ask for this\n")
                .into_response()
        }
        Err(Refusal::ContentType) => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "must be application/json\n").into_response()
        }
    }
}

/// Adds the headers that keep the page to itself.
pub(super) async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in PROTECTION {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let gate = Gate::new("127.0.0.1:8091".parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, value.parse().unwrap());
        }
        gate.check(&method, &Uri::from_static("/call"), &map)
    }

    #[test]
    fn the_host_must_be_the_address_or_localhost_with_the_port() {
        for host in ["127.0.0.1:8091", "localhost:8091"] {
            assert_eq!(check(Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1:8091.evil.example",
            "evil.example:8091",
            "localhost:8091:8091",
            "user@127.0.0.1:8091",
            "LOCALHOST.:8091",
            "[::1]:8091",
        ] {
            assert_eq!(check(Method::GET, &[("host", host)]), Err(Refusal::Host), "{host}");
        }
        let at_80 = Gate::new("127.0.0.1:80".parse().unwrap());
        assert_eq!(at_80.hosts, ["127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost"]);
        assert_eq!(check(Method::GET, &[]), Err(Refusal::Host), "no host");
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("127.0.0.1:80"))]);
        for (uri, result) in [
            ("http://127.0.0.1:80/", Ok(())),
            ("http://evil.example/", Err(Refusal::Host)),
            ("http://evil.example@127.0.0.1:80/", Err(Refusal::Host)),
        ] {
            let uri = Uri::from_static(uri);
            assert_eq!(at_80.check(&Method::GET, &uri, &headers), result, "{uri}");
        }
        let twice = [("host", "127.0.0.1:8091"), ("host", "evil.example:8091")];
        assert_eq!(check(Method::GET, &twice), Err(Refusal::Host), "two hosts");
    }

    #[test]
    fn a_call_must_come_from_the_page_itself() {
        let host = ("host", "127.0.0.1:8091");
        let json = ("content-type", "application/json");
        let own = ("origin", "http://127.0.0.1:8091");
        assert_eq!(check(Method::POST, &[host, json, own]), Ok(()));
        for origin in [
            "null",
            "http://evil.example",
            "https://127.0.0.1:8091",
            "http://127.0.0.1:8092",
            "http://127.0.0.1",
            "http://localhost:8091",
            "http://127.0.0.1:8091.evil.example",
            "http://127.0.0.1:8091/",
        ] {
            let result = check(Method::POST, &[host, json, ("origin", origin)]);
            assert_eq!(result, Err(Refusal::Site), "{origin}");
        }
        assert_eq!(check(Method::POST, &[host, json]), Err(Refusal::Site), "no origin");
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "", "text/json"] {
            let result = check(Method::POST, &[host, own, ("content-type", content_type)]);
            assert_eq!(result, Err(Refusal::ContentType), "{content_type}");
        }
    }

    #[test]
    fn another_site_may_link_to_the_page_and_do_nothing_else() {
        let host = ("host", "127.0.0.1:8091");
        let fetch = |site, mode, dest| {
            let headers = [
                host,
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            check(Method::GET, &headers)
        };
        assert_eq!(fetch("same-origin", "cors", "empty"), Ok(()));
        assert_eq!(fetch("none", "navigate", "document"), Ok(()));
        assert_eq!(fetch("cross-site", "navigate", "document"), Ok(()));
        for (site, mode, dest) in [
            ("cross-site", "no-cors", "script"),
            ("cross-site", "cors", "empty"),
            ("cross-site", "navigate", "iframe"),
            ("same-site", "no-cors", "image"),
            ("same-site", "cors", "empty"),
        ] {
            assert_eq!(fetch(site, mode, dest), Err(Refusal::Site), "{site} {mode} {dest}");
        }
    }
}
