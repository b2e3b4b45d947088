//! A proxy on loopback between a façade and its upstream, which keeps the last response, or why
//! there was none.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
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
use reqwest::Url;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::setup::SetupError;
use crate::{
    error_chain::with_causes,
    http_client::{HttpClient, describe},
    http_server, stytch,
    tls_failure::TlsFailure,
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

/// A response, or why there is none.
type Outcome = Result<Answer, String>;

/// A running recorder. It ends with the value.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) url: Url,
    last: Arc<Mutex<Option<Outcome>>>,
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
        let router = Router::new().fallback(forward).with_state(Arc::new(proxy));
        let closing = CancellationToken::new();
        http_server::serve(listener, router, MAX_CONNECTIONS, closing.clone());
        let url = format!("http://{addr}").parse().expect("an address makes a URL");
        Ok(Self { url, last, closing })
    }

    /// Returns what has become of the last request since the last time.
    pub(super) fn take(&self) -> Outcome {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        last.unwrap_or_else(|| Err("no request was sent".to_owned()))
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
    last: Arc<Mutex<Option<Outcome>>>,
}

/// Forwards a request, and keeps what becomes of it. What has no response is answered as a gateway
/// would.
async fn forward(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (outcome, response) = match proxy.send(request).await {
        Ok((answer, response)) => (Ok(answer), response),
        Err(why) => (Err(why), StatusCode::BAD_GATEWAY.into_response()),
    };
    *proxy.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    response
}

impl Proxy {
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
        let hint = TlsFailure::of(&error).map(|failure| failure.explain(stytch::CA_SETTING));
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        format!("{what} {}: {}{hint}", self.upstream, describe(error))
    }
}
