//! A proxy on loopback between a façade and its upstream, which keeps the last response, or why
//! there was none.
//!
//! By what it keeps, the run decides whose TOTP the member has. So it answers under a path that
//! nobody can guess: every user of the machine reaches its port.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderName, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse as _, Response},
};
use rand::RngExt as _;
use reqwest::Url;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::setup::SetupError;
use crate::{
    error_chain::with_causes,
    http_client::{HttpClient, explain},
    http_server, stytch,
};

/// The longest body that passes, in bytes.
const MAX_BODY: usize = 1024 * 1024;
const MAX_CONNECTIONS: usize = 16;

/// What passes on the way to the upstream. Its client names itself.
const REQUEST_HEADERS: [HeaderName; 4] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("x-stytch-member-session"),
    HeaderName::from_static("x-stytch-member-sessionjwt"),
];
const RESPONSE_HEADERS: [HeaderName; 2] = [CONTENT_TYPE, RETRY_AFTER];

/// A response of the upstream.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The body; null if it is not JSON.
    pub(super) body: Value,
}

/// What has become of the last request.
#[derive(Debug, Default)]
struct Last {
    /// How many requests there have been.
    requests: u64,
    /// Its response, or why there is none. `None` if there was no request since the last time that
    /// somebody looked.
    response: Option<Result<Answer, String>>,
}

/// A running recorder. It ends with the value.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) url: Url,
    last: Arc<Mutex<Last>>,
    closing: CancellationToken,
}

impl Recorder {
    /// Starts a recorder in front of `upstream`.
    pub(super) async fn start(
        upstream: &Url,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, SetupError> {
        let http = HttpClient::new(upstream, ca_file, move |builder| builder.timeout(timeout));
        let http = http.map_err(SetupError)?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|it| SetupError::of(&it))?;
        let addr = listener.local_addr().map_err(|it| SetupError::of(&it))?;
        let last = Arc::default();
        let proxy = Proxy { upstream: upstream.clone(), http, last: Arc::clone(&last) };
        let forwarding = Router::new().fallback(forward).with_state(Arc::new(proxy));
        let path = format!("/{:032x}", rand::rng().random::<u128>());
        // Anything else is not found.
        let router = Router::new().nest(&path, forwarding);
        let closing = CancellationToken::new();
        http_server::serve(listener, router, MAX_CONNECTIONS, closing.clone());
        let url = format!("http://{addr}{path}").parse().expect("an address makes a URL");
        Ok(Self { url, last, closing })
    }

    /// Returns what has become of the last request since the last time.
    pub(super) fn take(&self) -> Result<Answer, String> {
        let response = lock(&self.last).response.take();
        response.unwrap_or_else(|| Err("no request was sent".to_owned()))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

struct Proxy {
    upstream: Url,
    http: HttpClient,
    last: Arc<Mutex<Last>>,
}

/// Forwards a request, and keeps what becomes of it. What has no response is answered as a gateway
/// would.
async fn forward(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let number = proxy.begin();
    let (kept, response) = match proxy.send(request).await {
        Ok((answer, response)) => (Ok(answer), response),
        Err(why) => (Err(why), StatusCode::BAD_GATEWAY.into_response()),
    };
    proxy.end(number, kept);
    response
}

fn lock(last: &Mutex<Last>) -> MutexGuard<'_, Last> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Notes that a request has come. Returns its number. If its client goes away before there is a
    /// response, as it does at its timeout, nothing else is known of it.
    fn begin(&self) -> u64 {
        let mut last = lock(&self.last);
        last.requests += 1;
        last.response = Some(Err(format!("no response in time from {}", self.upstream)));
        last.requests
    }

    /// Notes what has become of a request, unless another one has come or somebody has looked.
    fn end(&self, number: u64, response: Result<Answer, String>) {
        let mut last = lock(&self.last);
        if last.requests == number && last.response.is_some() {
            last.response = Some(response);
        }
    }

    async fn send(&self, request: Request) -> Result<(Answer, Response), String> {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|it| with_causes(&it))?;
        let base = self.upstream.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}{}", head.uri)).map_err(|it| with_causes(&it))?;
        let mut forwarded = self.http.client().request(head.method, url).body(body);
        for name in REQUEST_HEADERS {
            if let Some(value) = head.headers.get(&name) {
                forwarded = forwarded.header(name, value);
            }
        }
        let answer = forwarded.send().await.map_err(|error| self.explain(error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|error| self.explain(error))?;
        if body.len() > MAX_BODY {
            return Err(format!(
                "the response of {} is longer than {MAX_BODY} bytes",
                self.upstream
            ));
        }
        let answer = Answer {
            status: status.as_u16(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let mut response = (status, Body::from(body)).into_response();
        for name in RESPONSE_HEADERS {
            if let Some(value) = headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        Ok((answer, response))
    }

    /// Says why there is no response.
    fn explain(&self, error: reqwest::Error) -> String {
        let what = match () {
            () if error.is_connect() => "cannot connect to",
            () if error.is_timeout() => "no response in time from",
            () => "no response from",
        };
        format!("{what} {}: {}", self.upstream, explain(error, stytch::CA_SETTING))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/v1/b2b/totp";

    /// Starts a recorder in front of a listener.
    async fn recorder() -> (Recorder, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let upstream = format!("http://{}", listener.local_addr().expect("an address"));
        let upstream = upstream.parse().expect("a URL");
        let recorder = Recorder::start(&upstream, None, Duration::from_secs(60)).await;
        (recorder.expect("a recorder"), listener)
    }

    /// Sends a request.
    async fn post(url: String) -> StatusCode {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        client.post(url).send().await.expect("a response").status()
    }

    #[tokio::test]
    async fn what_lacks_the_path_of_the_recorder_is_not_found_and_changes_nothing() {
        let (recorder, listener) = recorder().await;
        let refusing = Router::new().fallback(|| async { StatusCode::UNAUTHORIZED });
        tokio::spawn(async { axum::serve(listener, refusing).await });
        let (url, path) = (recorder.url.as_str(), recorder.url.path());
        let base = url.strip_suffix(path).expect("a URL ends with its path");
        let guess = format!("/{}", "0".repeat(32));
        assert_eq!(path.len(), guess.len(), "128 bits");

        assert_eq!(post(format!("{url}{PATH}")).await, 401);
        for path in [PATH, "/", &format!("{guess}{PATH}"), &format!("{PATH}{path}")] {
            assert_eq!(post(format!("{base}{path}")).await, 404, "{path}");
        }

        assert_eq!(recorder.take().expect("the response of the upstream").status, 401);
    }

    #[tokio::test]
    async fn a_request_whose_client_goes_away_replaces_the_response_before_it() {
        let (recorder, listener) = recorder().await;
        let known = Answer { status: 401, body: Value::Null };
        *lock(&recorder.last) = Last { requests: 1, response: Some(Ok(known)) };

        tokio::select! {
            status = post(format!("{}{PATH}", recorder.url)) => panic!("{status}"),
            // The request has come, and its client goes away.
            accepted = listener.accept() => assert!(accepted.is_ok()),
        }

        let why = recorder.take().expect_err("no response");
        let upstream = listener.local_addr().expect("an address");
        assert_eq!(why, format!("no response in time from http://{upstream}/"));
    }

    #[tokio::test]
    async fn a_late_response_counts_for_no_later_request() {
        let (recorder, _listener) = recorder().await;
        let upstream = recorder.url.clone();
        let http = HttpClient::new(&upstream, None, |builder| builder).expect("a client");
        let proxy = Proxy { upstream, http, last: Arc::clone(&recorder.last) };
        let success = || Ok(Answer { status: 200, body: Value::Null });

        let first = proxy.begin();
        let second = proxy.begin();
        proxy.end(first, success());
        assert!(recorder.take().is_err(), "of the second there is no response");
        proxy.end(second, success());
        assert_eq!(recorder.take().expect_err("no request"), "no request was sent");
    }
}
