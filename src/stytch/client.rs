//! One `call`: an endpoint and a message in, a message or an error out.

use std::{borrow::Cow, path::PathBuf, sync::Arc, time::Duration};

use backon::Retryable as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Body, Response, Url};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout_at};

use super::{
    Endpoint, Error, Sent,
    body::GatedBody,
    breaker::Breaker,
    credentials::{Credentials, read_secret},
    decode::decode,
    endpoint::Header,
    error::{Unreadable, request_id, was_not_processed},
    mask::Mask,
    pool::pool,
    retry::{Budget, delays, may_repeat},
    sent::{Attempt, GivenUp},
};
use crate::{
    files::Reloaded,
    http_client::HttpClient,
    proto::{StytchRequest, StytchResponse},
    telemetry::metrics::Metrics,
};

/// The longest answer that is read. The largest ones known are a few tens of KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// What is encoded in a segment of a path: all but RFC 3986's unreserved characters.
pub(super) const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How to reach Stytch, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the API is. Endpoint paths are appended to its path.
    pub base_url: Url,
    /// User name of the project.
    pub project_id: String,
    /// Password of the project.
    pub secret: SecretString,
    /// The file that it is from, which is read again when it changes.
    pub secret_file: Option<PathBuf>,
    /// Authorities, PEM, that are trusted beside the system's; read again when the file changes.
    pub ca_file: Option<PathBuf>,
    /// For the whole of a call.
    pub timeout: Duration,
    /// For connecting, within `timeout`.
    pub connect_timeout: Duration,
    /// How long a connection is used, a tenth more or less; 0: for as long as it lasts.
    pub max_connection_age: Duration,
}

/// A pool of connections to Stytch. Clones share it.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file of the secret.
    #[error("the Stytch secret: {0}")]
    Secret(String),
    /// The file of private authorities, or those of the system.
    #[error("cannot prepare calls to Stytch: {0}")]
    Http(String),
}

#[derive(Debug)]
struct Inner {
    http: Arc<Reloaded<HttpClient>>,
    settings: Settings,
    credentials: Reloaded<Credentials>,
    budget: Budget,
    breaker: Breaker,
    metrics: Metrics,
}

impl Client {
    /// Prepares a client; connects only when the first call is made. Needs a runtime.
    ///
    /// # Errors
    ///
    /// When the machine's certificate store, the file of authorities or that of the secret cannot be read.
    pub fn new(settings: &Settings, metrics: &Metrics) -> Result<Self, SetupError> {
        Ok(Self(Arc::new(Inner {
            http: pool(settings, metrics)?,
            credentials: credentials(settings, metrics)?,
            settings: settings.clone(),
            budget: Budget::default(),
            breaker: Breaker::new(metrics.clone()),
            metrics: metrics.clone(),
        })))
    }

    /// How Stytch is reached.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// As whom, at present.
    pub fn credentials(&self) -> &Reloaded<Credentials> {
        &self.0.credentials
    }

    /// Sends `request` and reads the answer, within the timeout. `sent` knows when the request leaves, and
    /// once it is given up, none does. An attempt that failed is repeated, as `retry.rs` says; no repetition
    /// is begun that could not be before `deadline`, which is the caller's.
    ///
    /// # Errors
    ///
    /// By cause; [`Error::upstream`] says what is known about the call.
    ///
    /// # Panics
    ///
    /// When a field that travels as a header is not visible ASCII, or an id in the path is `.` or `..`:
    /// `Validate` has let through what it must not.
    pub async fn call<Req, Res>(
        &self,
        endpoint: &Endpoint<Req, Res>,
        request: &Req,
        sent: &Sent,
        deadline: Option<Instant>,
    ) -> Result<Res, Error>
    where
        Req: Serialize + StytchRequest,
        Res: DeserializeOwned + StytchResponse,
    {
        let Inner { budget, metrics, .. } = &*self.0;
        let limit = Instant::now() + self.0.settings.timeout;
        let until = deadline.map_or(limit, |deadline| deadline.min(limit));
        budget.deposit();
        (|| self.attempt(endpoint, request, sent, limit))
            .retry(delays())
            .when(|error| may_repeat(error, endpoint.effect))
            .adjust(|error, delay| budget.wait(error, delay, until))
            .notify(|error, wait| {
                metrics.upstream_retries.inc();
                let (path, cause) = (endpoint.path, error as &dyn std::error::Error);
                tracing::info!(path, ?wait, error = cause, "upstream call is tried again");
            })
            .await
    }

    /// One attempt, if the circuit breaker lets it, which is told how it ended.
    async fn attempt<Req, Res>(
        &self,
        endpoint: &Endpoint<Req, Res>,
        request: &Req,
        sent: &Sent,
        limit: Instant,
    ) -> Result<Res, Error>
    where
        Req: Serialize + StytchRequest,
        Res: DeserializeOwned + StytchResponse,
    {
        let refused = |wait| Error::CircuitOpen { wait, sent: sent.abandon() };
        let admitted = self.0.breaker.admit().map_err(refused)?;
        let attempt = sent.begin(endpoint.has_body()).map_err(given_up)?;
        let exchange = async {
            let credentials = self.0.credentials.get();
            let result = self.exchange(endpoint, request, &attempt, &credentials).await;
            match result {
                Err(Error::Rejected(api)) if api.is_about_our_credentials() => {
                    // Nothing was done, so once the secret has been rotated the call is made with the new one.
                    let Some(renewed) = self.renewed(&credentials).await else {
                        return Err(Error::Rejected(api));
                    };
                    attempt.was_not_processed();
                    match sent.begin(endpoint.has_body()) {
                        Ok(again) => self.exchange(endpoint, request, &again, &renewed).await,
                        Err(GivenUp) => Err(Error::Rejected(api)),
                    }
                }
                result => result,
            }
        };
        let result = timeout_at(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(Error::TimedOut { sent: sent.abandon() }));
        admitted.end(&result);
        result
    }

    /// The credentials that have taken the place of `rejected`, if any have.
    async fn renewed(&self, rejected: &Credentials) -> Option<Arc<Credentials>> {
        let is_other = |other: &Credentials| other.authorization() != rejected.authorization();
        let settings = self.0.settings.clone();
        let path = settings.secret_file.clone()?;
        let read = tokio::task::spawn_blocking(move || read_secret(&path)).await.ok()?;
        let read = Credentials::new(&settings.project_id, read.ok()?);
        if is_other(&read) {
            self.0.credentials.set(read);
            tracing::info!("Stytch refused the secret, and its file has another");
        }
        let current = self.0.credentials.get();
        is_other(&current).then_some(current)
    }

    /// One HTTP exchange.
    async fn exchange<Req, Res>(
        &self,
        endpoint: &Endpoint<Req, Res>,
        request: &Req,
        attempt: &Attempt,
        credentials: &Credentials,
    ) -> Result<Res, Error>
    where
        Req: Serialize + StytchRequest,
        Res: DeserializeOwned + StytchResponse,
    {
        let path = endpoint.path;
        let body = endpoint
            .has_body()
            .then(|| serde_json::to_vec(request).expect("a message always has a JSON form").into());
        let mut answer = self
            .0
            .http
            .get()
            .get()
            .request(endpoint.method.clone(), self.url(&filled(path, request)))
            .headers(session_headers(endpoint.headers, request))
            .header(AUTHORIZATION, credentials.authorization())
            .body(Body::wrap(GatedBody::new(body, attempt.clone())))
            .send()
            .await
            .map_err(|error| transport_error(error, attempt))?;
        let http_status = answer.status();
        let headers = std::mem::take(answer.headers_mut());
        let body = read_body(answer).await;
        tracing::debug!(path, http_status = http_status.as_u16(), "Stytch answered");
        // Here rather than where statuses are made, so that logs have none of it either.
        let mask = || self.mask(request, credentials);
        if !http_status.is_success() {
            let body = body.as_deref().map_err(|why| *why);
            return Err(Error::from_answer(http_status, &headers, body, mask));
        }
        let unreadable = |why, request_id| Error::Unreadable { http_status, request_id, why };
        let dropped = |field: &str| {
            self.0.metrics.upstream_unset_fields.inc();
            tracing::warn!(path, field, "left unset: Stytch sent a value of an unexpected type");
        };
        let read = |body: Bytes| match body.is_empty() {
            true => Err(Unreadable::Empty),
            false => decode(&body, dropped),
        };
        let answer: Res = body.and_then(read).map_err(|why| unreadable(why, None))?;
        if (endpoint.is_complete)(&answer) {
            Ok(answer)
        } else {
            let request_id = request_id(answer.request_id().to_owned(), &mask());
            Err(unreadable(Unreadable::Incomplete, request_id))
        }
    }

    /// Covers the secrets of `request` and our own: those it was sent with, and those in force by now.
    fn mask(&self, request: &impl StytchRequest, sent_with: &Credentials) -> Mask {
        let current = self.0.credentials.get();
        let ours = [sent_with.spellings(), current.spellings()].concat();
        Mask::new(request.secrets().into_iter().chain(ours.iter().map(|it| it.as_str())))
    }

    /// `path` below the base URL, whose host is not parsed again.
    fn url(&self, path: &str) -> Url {
        let mut url = self.0.settings.base_url.clone();
        match url.path().trim_end_matches('/') {
            "" => url.set_path(path),
            base => url.set_path(&format!("{base}{path}")),
        }
        url
    }
}

/// The path with the ids in their places, each as exactly one segment.
fn filled(path: &'static str, request: &impl StytchRequest) -> Cow<'static, str> {
    if !path.contains('{') {
        return path.into();
    }
    let segment = |id: &str| {
        assert!(!matches!(id, "" | "." | ".."), "not a segment");
        utf8_percent_encode(id, SEGMENT).to_string()
    };
    // An encoded id has no braces.
    path.replace("{organization_id}", &segment(request.organization_id()))
        .replace("{member_id}", &segment(request.member_id()))
        .into()
}

/// The fields of the request that travel as headers. They are proofs, so nothing logs them.
fn session_headers<Req>(headers: &[Header<Req>], request: &Req) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let Some(value) = value(request) else { continue };
        let mut value = HeaderValue::from_str(value).expect("Validate lets visible ASCII through");
        value.set_sensitive(true);
        map.insert(*name, value);
    }
    map
}

fn credentials(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Reloaded<Credentials>, SetupError> {
    let project_id = settings.project_id.clone();
    let Some(path) = settings.secret_file.clone() else {
        return Ok(Reloaded::fixed(Credentials::new(&project_id, settings.secret.clone())));
    };
    let paths = vec![path.clone()];
    let load = move || Ok(Credentials::new(&project_id, read_secret(&path)?));
    Reloaded::from_files(metrics, "stytch_secret", paths, load).map_err(SetupError::Secret)
}

/// What an attempt without an answer ends with; none of it leaves from now on.
fn transport_error(error: reqwest::Error, attempt: &Attempt) -> Error {
    // The URL may hold ids, and says nothing that the settings do not.
    let error = error.without_url();
    if was_not_processed(&error) {
        attempt.was_not_processed();
    }
    // Of a read that is tried again, an earlier attempt may have been sent.
    if attempt.abandon() { Error::Disconnected(error) } else { Error::Unreachable(error) }
}

/// A new attempt was to begin, and the caller has been told that nothing was sent.
fn given_up(GivenUp: GivenUp) -> Error {
    Error::TimedOut { sent: false }
}

/// Reads a body of at most [`MAX_ANSWER`] bytes; one that came in one piece is not copied.
async fn read_body(mut answer: Response) -> Result<Bytes, Unreadable> {
    if answer.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(Unreadable::TooLong);
    }
    let mut next = async || answer.chunk().await.map_err(|_| Unreadable::CutShort);
    let Some(first) = next().await? else {
        return Ok(Bytes::new());
    };
    let Some(second) = next().await? else {
        return Ok(first);
    };
    let mut body = Vec::from(first);
    let mut chunk = Some(second);
    while let Some(bytes) = chunk {
        if body.len() + bytes.len() > MAX_ANSWER {
            return Err(Unreadable::TooLong);
        }
        body.extend_from_slice(&bytes);
        chunk = next().await?;
    }
    Ok(body.into())
}
