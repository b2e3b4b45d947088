//! One call to Stytch: an endpoint and a request in, a response or an error out.

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use backon::Retryable as _;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use reqwest::{Body, Response, Url};
use serde::Serialize;
use tokio::{
    sync::Mutex,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use super::{
    circuit_breaker::CircuitBreaker,
    connections::{Connections, observe},
    credentials::{Credentials, read_secret},
    endpoint::Endpoint,
    error::{Error, Unreadable, was_not_processed},
    failure::request_id,
    pool::pool,
    record::{self, Record, Recorder, Requests},
    retry::{RetryBudget, backoff, is_retryable},
    secret_mask::Mask,
    send_gate::{Attempt, Closed, GatedBody, SendGate},
    settings::{Settings, SetupError},
};
use crate::{
    files::Reloaded,
    http_client::HttpClient,
    proto::StytchRequest,
    telemetry::{
        limit::{ByCaller, Limit},
        metrics::Metrics,
        trace::Trace,
    },
    translate::{Encoded, FromJson, NotJson, translate},
};

/// The longest response body to read, in bytes. The largest known ones are a few tens of KiB.
const MAX_BODY: usize = 1024 * 1024;

/// How long a call whose secret Stytch refuses waits for the file of the secret.
const MAX_SECRET_READ: Duration = Duration::from_secs(1);
/// How long before its limit such a call stops waiting.
const TIME_TO_ANSWER: Duration = Duration::from_millis(50);

/// How many of the fields that a response leaves unset are named in the log.
const MAX_NAMED: usize = 10;

/// A client for Stytch. Clones share its connections, circuit breaker and retry budget.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: Arc<Reloaded<HttpClient>>,
    settings: Settings,
    credentials: Reloaded<Credentials>,
    /// Held by the one call that reads the secret file: on a mount that hangs, more would take all
    /// threads for blocking work.
    reading_secret: Arc<Mutex<()>>,
    budget: RetryBudget,
    breaker: CircuitBreaker,
    requests: Requests,
    metrics: Metrics,
}

impl Client {
    /// Prepares a client, which connects on its first call. Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the system's certificate store, the CA file or the secret file cannot be read.
    pub fn new(settings: &Settings, metrics: &Metrics) -> Result<Self, SetupError> {
        let connections = Connections::default();
        let inner = Arc::new(Inner {
            http: pool(settings, &connections, metrics)?,
            credentials: credentials(settings, metrics)?,
            reading_secret: Arc::default(),
            settings: settings.clone(),
            budget: RetryBudget::default(),
            breaker: CircuitBreaker::new(metrics.clone()),
            requests: Requests::new(&settings.base_url, &connections, metrics),
            metrics: metrics.clone(),
        });
        metrics.upstream_retry_budget_left.watch(&inner, |it| it.budget.left().into());
        Ok(Self(inner))
    }

    /// Returns the settings that the client was created with.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Returns the credentials, which change when the secret is rotated.
    pub fn credentials(&self) -> &Reloaded<Credentials> {
        &self.0.credentials
    }

    /// Sends `request` and reads the response, within the timeout. Each attempt passes `gate`; once
    /// the gate is closed, nothing is sent any more. A failed attempt is retried as `retry.rs`
    /// says, unless the retry would start after `deadline`, the caller's. Attempts are recorded in
    /// `trace`.
    ///
    /// # Errors
    ///
    /// By cause; [`Error::upstream`] says what is known about the call.
    ///
    /// # Panics
    ///
    /// If a field sent as a header is not visible ASCII, or an id in the path is `.` or `..`.
    /// `Validate` must have refused such a request.
    pub async fn call<Req, Res>(
        &self,
        endpoint: &Endpoint<Req, Res>,
        request: &Req,
        gate: &SendGate,
        deadline: Option<Instant>,
        trace: &Trace,
    ) -> Result<Encoded<Res>, Error>
    where
        Req: Serialize + StytchRequest,
        Res: FromJson,
    {
        let Inner { budget, metrics, .. } = &*self.0;
        let limit = Instant::now() + self.0.settings.timeout;
        let until = deadline.map_or(limit, |deadline| deadline.min(limit));
        budget.deposit();
        let begun = AtomicU32::default();
        let recorder = self.0.requests.recorder(endpoint.path, gate, limit, trace, &begun);
        (|| self.attempt(endpoint, request, gate, limit, recorder))
            .retry(backoff())
            .when(|error| is_retryable(error, endpoint.effect))
            .adjust(|error, delay| budget.wait(error, delay, until))
            .notify(|error, wait| {
                metrics.upstream_retries.inc();
                log_retry(endpoint.path, error, wait);
                record::retry(trace, error, wait);
            })
            .await
    }

    /// Makes one attempt, if the circuit breaker permits it, and reports the outcome to the
    /// breaker.
    async fn attempt<Req, Res>(
        &self,
        endpoint: &Endpoint<Req, Res>,
        request: &Req,
        gate: &SendGate,
        limit: Instant,
        recorder: Recorder<'_>,
    ) -> Result<Encoded<Res>, Error>
    where
        Req: Serialize + StytchRequest,
        Res: FromJson,
    {
        let circuit_open = |wait| {
            recorder.not_attempted();
            Error::CircuitOpen { wait, sent: gate.cancel_attempt() }
        };
        let permit = self.0.breaker.admit().map_err(circuit_open)?;
        let attempt = gate.begin_attempt(endpoint.has_body()).map_err(gate_closed)?;
        let exchange = async {
            let credentials = self.0.credentials.get();
            let result = self.exchange(endpoint, request, &attempt, &credentials, recorder).await;
            match result {
                Err(Error::Rejected(api)) if api.is_about_our_credentials() => {
                    // Stytch did nothing, so if the secret has been rotated, send the call with the
                    // new one.
                    let Some(rotated) = self.rotated(&credentials, limit).await else {
                        return Err(Error::Rejected(api));
                    };
                    attempt.mark_unprocessed();
                    match gate.begin_attempt(endpoint.has_body()) {
                        Ok(resend) => {
                            self.exchange(endpoint, request, &resend, &rotated, recorder).await
                        }
                        Err(Closed) => Err(Error::Rejected(api)),
                    }
                }
                result => result,
            }
        };
        let result = timeout_at(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(Error::TimedOut { sent: gate.cancel_attempt() }));
        permit.record(&result);
        result
    }

    /// Returns the credentials that have replaced `rejected`, if any. Reads the secret file rather
    /// than wait for its reload, and ends before `limit`: the refusal must not become a timeout.
    async fn rotated(&self, rejected: &Credentials, limit: Instant) -> Option<Arc<Credentials>> {
        let Inner { settings, credentials, reading_secret, .. } = &*self.0;
        let path = settings.secret_file.clone()?;
        let differs = |other: &Credentials| other.authorization() != rejected.authorization();
        let current = || Some(credentials.get()).filter(|current| differs(current));
        let read = async {
            let reading = Arc::clone(reading_secret).lock_owned().await;
            // Perhaps another call has just read it.
            if current().is_some() {
                return None;
            }
            // The lock is held until the read ends, whether or not a call still waits for it, and
            // then until its result is in force.
            let (secret, reading) =
                spawn_blocking(move || (read_secret(&path), reading)).await.ok()?;
            Some((secret.ok()?, reading))
        };
        let until = (Instant::now() + MAX_SECRET_READ).min(limit - TIME_TO_ANSWER);
        if let Ok(Some((secret, _reading))) = timeout_at(until, read).await {
            let read = Credentials::new(&settings.project_id, secret);
            if differs(&read) {
                credentials.set(read);
                static LIMIT: Limit = Limit::new();
                if let Some(suppressed) = LIMIT.pass() {
                    tracing::info!(
                        suppressed,
                        "Stytch refused the secret; its file holds a new one"
                    );
                }
            }
        }
        current()
    }

    /// Makes one HTTP request, and records it.
    async fn exchange<Req, Res>(
        &self,
        endpoint: &Endpoint<Req, Res>,
        request: &Req,
        attempt: &Attempt,
        credentials: &Credentials,
        recorder: Recorder<'_>,
    ) -> Result<Encoded<Res>, Error>
    where
        Req: Serialize + StytchRequest,
        Res: FromJson,
    {
        let mut record = recorder.begin(&endpoint.method);
        let result = self.send(endpoint, request, attempt, credentials, &mut record).await;
        record.finish(&result);
        result
    }

    /// Sends the HTTP request and reads the HTTP response.
    async fn send<Req, Res>(
        &self,
        endpoint: &Endpoint<Req, Res>,
        request: &Req,
        attempt: &Attempt,
        credentials: &Credentials,
        record: &mut Record<'_>,
    ) -> Result<Encoded<Res>, Error>
    where
        Req: Serialize + StytchRequest,
        Res: FromJson,
    {
        let path = endpoint.path;
        let body = endpoint
            .has_body()
            .then(|| serde_json::to_vec(request).expect("a message always has a JSON form").into());
        // Without a builder, which moves the request for each of its parts.
        let url = self.url(&endpoint.path_for(request));
        let mut sent = reqwest::Request::new(endpoint.method.clone(), url);
        *sent.headers_mut() = endpoint.headers_for(request);
        sent.headers_mut().insert(AUTHORIZATION, credentials.authorization().clone());
        *sent.body_mut() = Some(Body::wrap(GatedBody::new(body, attempt.clone())));
        record.sends(&mut sent, || self.url(&endpoint.path_without_ids()));
        let http = self.0.http.get();
        // Kept until the body has been read, so that it counts the call for as long.
        let client = http.client();
        let response = observe(client.execute(sent), record.opening()).await;
        let mut response = response.map_err(|error| transport_error(error, attempt))?;
        let http_status = response.status();
        record.responded(&response);
        let headers = std::mem::take(response.headers_mut());
        let body = read_body(response).await;
        tracing::debug!(path, http_status = http_status.as_u16(), "Stytch responded");
        // Masked here, where the error is made, so that logs are free of secrets too.
        let mask = || self.mask(request, credentials);
        if !http_status.is_success() {
            let body = body.as_deref().map_err(|why| *why);
            return Err(Error::from_response(http_status, &headers, body, mask));
        }
        let unreadable = |why, request_id| Error::Unreadable { http_status, request_id, why };
        let response = body.and_then(|body| self.translate(path, &body));
        let response: Encoded<Res> = response.map_err(|why| unreadable(why, None))?;
        let is_hidden = |id: &str| mask().hides_name(id);
        let request_id =
            || response.request_id().and_then(|id| request_id(id.to_owned(), is_hidden));
        if endpoint.essential.iter().any(|field| response.is_set(field)) {
            record.succeeded(request_id);
            return Ok(response);
        }
        let request_id = request_id();
        Err(unreadable(Unreadable::Incomplete, request_id))
    }

    /// Translates the body of a success. Counts each field that is left unset, and logs them in one
    /// line.
    fn translate<Res: FromJson>(
        &self,
        path: &str,
        body: &[u8],
    ) -> Result<Encoded<Res>, Unreadable> {
        if body.is_empty() {
            return Err(Unreadable::Empty);
        }
        let mut unset = Vec::new();
        let response = translate(body, |field| {
            self.0.metrics.upstream_unset_fields.inc();
            if unset.len() < MAX_NAMED {
                unset.push(field.to_owned());
            }
        });
        if !unset.is_empty() {
            log_unset(path, &unset);
        }
        response.map_err(|NotJson| Unreadable::NotJson)
    }

    /// Returns a mask for the secrets of `request` and our own: those it was sent with, and the
    /// current ones.
    fn mask(&self, request: &impl StytchRequest, sent_with: &Credentials) -> Mask {
        let current = self.0.credentials.get();
        let ours = [sent_with.spellings(), current.spellings()].concat();
        Mask::new(request.secrets().into_iter().chain(ours.iter().map(|it| it.as_str())))
    }

    /// Returns the URL of `path` below the base URL, without parsing the host again.
    fn url(&self, path: &str) -> Url {
        let mut url = self.0.settings.base_url.clone();
        match url.path().trim_end_matches('/') {
            "" => url.set_path(path),
            base => url.set_path(&format!("{base}{path}")),
        }
        url
    }
}

fn log_retry(path: &str, error: &Error, wait: Duration) {
    static LIMIT: ByCaller = ByCaller::new();

    if let Some(suppressed) = LIMIT.pass() {
        let error = error.in_full();
        tracing::info!(path, ?wait, suppressed, error, "retrying the call to Stytch");
    }
}

fn log_unset(path: &str, fields: &[String]) {
    static LIMIT: ByCaller = ByCaller::new();

    if let Some(suppressed) = LIMIT.pass() {
        let field = fields.join(", ");
        tracing::warn!(
            path,
            field,
            suppressed,
            "left unset: Stytch sent a value of an unexpected type"
        );
    }
}

/// Returns the credentials, reloaded from the secret file if there is one.
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

/// Classifies an attempt that got no response, and makes sure that it is not sent from now on.
fn transport_error(error: reqwest::Error, attempt: &Attempt) -> Error {
    // The URL may hold ids, and tells nothing that the settings do not.
    let error = error.without_url();
    if was_not_processed(&error) {
        attempt.mark_unprocessed();
    }
    // An earlier attempt of a retried read may have been sent.
    if attempt.cancel() { Error::Disconnected(error) } else { Error::Unreachable(error) }
}

/// Returns the error for an attempt that came too late: the caller already knows that nothing was
/// sent.
fn gate_closed(Closed: Closed) -> Error {
    Error::TimedOut { sent: false }
}

/// Reads a body of at most [`MAX_BODY`] bytes. A body that arrives in one chunk is not copied, and
/// one whose length is known is copied once.
async fn read_body(mut response: Response) -> Result<Bytes, Unreadable> {
    let length = response.content_length().unwrap_or_default();
    let Some(length) = usize::try_from(length).ok().filter(|length| *length <= MAX_BODY) else {
        return Err(Unreadable::TooLong);
    };
    let mut next = async || response.chunk().await.map_err(|_| Unreadable::Truncated);
    let Some(first) = next().await? else {
        return Ok(Bytes::new());
    };
    let Some(second) = next().await? else {
        return Ok(first);
    };
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(&first);
    let mut chunk = Some(second);
    while let Some(bytes) = chunk {
        if body.len() + bytes.len() > MAX_BODY {
            return Err(Unreadable::TooLong);
        }
        body.extend_from_slice(&bytes);
        chunk = next().await?;
    }
    Ok(body.into())
}
