//! Records the requests to Stytch in the metrics, and in the trace of their call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use opentelemetry::{KeyValue, trace::SpanKind};
use reqwest::{Request, Response, Url};
use tokio::time::Instant;

use super::{
    connections::{Connections, Opening},
    endpoint,
    error::Error,
    send_gate::SendGate,
};
use crate::telemetry::{
    metrics::{HttpEnd, HttpEndpoint, HttpError, Metrics},
    trace::{
        Recorded, Span, Trace,
        attributes::{
            BACKOFF_MS, CONNECTED, CONNECTING, ERROR_TYPE, FIRST_BYTE, HTTP_METHOD,
            HTTP_STATUS_CODE, NOT_ATTEMPTED, PEER_ADDRESS, PEER_PORT, PROTOCOL_VERSION,
            RESEND_COUNT, RETRY, SERVER_ADDRESS, SERVER_PORT, STYTCH_ERROR_TYPE, STYTCH_REQUEST_ID,
            URL_FULL, URL_TEMPLATE,
        },
    },
};

/// Records that an attempt of a call failed, and is retried after `wait`.
pub(super) fn retry(trace: &Trace, error: &Error, wait: Duration) {
    trace.record(|span| {
        let status = error.http_status().map(|status| status.as_u16().to_string());
        let why = why(error).map(|why| why.as_str().to_owned()).or(status);
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let attributes = vec![
            KeyValue::new(BACKOFF_MS, wait),
            KeyValue::new(ERROR_TYPE, why.unwrap_or_default()),
        ];
        span.event(RETRY, attributes);
    });
}

/// Where requests are recorded.
#[derive(Debug)]
pub(super) struct Requests {
    endpoints: Vec<Arc<HttpEndpoint>>,
    connections: Connections,
    metrics: Metrics,
}

impl Requests {
    pub(super) fn new(base_url: &Url, connections: &Connections, metrics: &Metrics) -> Self {
        connections.show(metrics);
        let port = base_url.port_or_known_default().unwrap_or_default();
        let server = (base_url.host_str().unwrap_or_default(), port);
        let register = |(method, path): (http::Method, _)| {
            metrics.upstream_requests.register(method.as_str(), server, path)
        };
        Self {
            endpoints: endpoint::all().map(register).into(),
            connections: connections.clone(),
            metrics: metrics.clone(),
        }
    }

    /// Returns a recorder for the requests of one call to the endpoint with this path. They pass
    /// `gate`, and are dropped at `limit`. Their spans belong to `trace`, and `begun` counts them.
    pub(super) fn recorder<'a>(
        &'a self,
        path: &str,
        gate: &'a SendGate,
        limit: Instant,
        trace: &'a Trace,
        begun: &'a AtomicU32,
    ) -> Recorder<'a> {
        let endpoint = self.endpoints.iter().find(|it| it.template() == path);
        let endpoint = endpoint.expect("endpoint::all has it");
        Recorder { requests: self, endpoint, gate, limit, trace, begun }
    }
}

/// Records the requests of one call.
#[derive(Clone, Copy)]
pub(super) struct Recorder<'a> {
    requests: &'a Requests,
    endpoint: &'a HttpEndpoint,
    gate: &'a SendGate,
    limit: Instant,
    trace: &'a Trace,
    /// How many requests the call has made.
    begun: &'a AtomicU32,
}

impl<'a> Recorder<'a> {
    /// Records that no request is made, because the circuit breaker is open.
    pub(super) fn not_attempted(self) {
        self.trace.record(|span| span.event(NOT_ATTEMPTED, Vec::new()));
    }

    /// Begins to record a request.
    pub(super) fn begin(self, method: &Method) -> Record<'a> {
        let start = Instant::now();
        let template = self.endpoint.template();
        let before = self.begun.fetch_add(1, Relaxed);
        let mut span = self.trace.child(SpanKind::Client, || format!("{method} {template}"));
        if let Some(span) = span.recorded() {
            span.set(HTTP_METHOD, method.to_string());
            span.set(URL_TEMPLATE, template);
            if before > 0 {
                span.set(RESEND_COUNT, i64::from(before));
            }
        }
        let (was_sent, opening) = (self.gate.is_sent(), Opening::default());
        Record { of: self, start, was_sent, opening, status: None, error: None, span }
    }
}

/// A request, which is recorded on drop.
pub(super) struct Record<'a> {
    of: Recorder<'a>,
    start: Instant,
    /// Whether an earlier attempt was sent.
    was_sent: bool,
    opening: Opening,
    status: Option<StatusCode>,
    /// Why it failed, once it has ended.
    error: Option<Option<HttpError>>,
    span: Span,
}

impl Record<'_> {
    /// Records where the request goes, by `shown` unless the trace shows ids, and passes the trace
    /// on to Stytch if that is set.
    pub(super) fn sends(&mut self, request: &mut Request, shown: impl FnOnce() -> Url) {
        let trace = self.of.trace;
        if let Some(span) = self.span.recorded() {
            let url = if trace.shows_ids() { request.url().clone() } else { shown() };
            span.set(SERVER_ADDRESS, url.host_str().unwrap_or_default().to_owned());
            if let Some(port) = url.port_or_known_default() {
                span.set(SERVER_PORT, i64::from(port));
            }
            span.set(URL_FULL, String::from(url));
        }
        trace.pass_on(&self.span, request.headers_mut());
    }

    /// Returns where to say when the request has opened a connection.
    pub(super) fn opening(&mut self) -> &mut Opening {
        &mut self.opening
    }

    /// Records that the head of a response has arrived.
    pub(super) fn responded(&mut self, response: &Response) {
        self.status = Some(response.status());
        let Some(span) = self.span.recorded() else { return };
        span.event(FIRST_BYTE, Vec::new());
        span.set(HTTP_STATUS_CODE, i64::from(response.status().as_u16()));
        span.set(PROTOCOL_VERSION, version(response.version()));
        if let Some(addr) = response.remote_addr() {
            span.set(PEER_ADDRESS, addr.ip().to_string());
            span.set(PEER_PORT, i64::from(addr.port()));
        }
    }

    /// Records Stytch's id of a request that succeeded.
    pub(super) fn succeeded(&mut self, request_id: impl FnOnce() -> Option<String>) {
        if let Some(span) = self.span.recorded()
            && let Some(id) = request_id()
        {
            span.set(STYTCH_REQUEST_ID, id);
        }
    }

    /// Records the result.
    pub(super) fn finish<T>(mut self, result: &Result<T, Error>) {
        self.error = Some(result.as_ref().err().and_then(why));
        if let Err(error) = result
            && let Some(api) = error.api()
        {
            self.of.requests.metrics.upstream_errors.inc(&api.error_type);
        }
        if let (Err(error), Some(span)) = (result, self.span.recorded()) {
            record_error(span, error);
        }
    }

    /// Records what is known of the request only when it has ended.
    fn finish_span(&mut self, error: Option<HttpError>) {
        let Some(span) = self.span.recorded() else { return };
        for (at, name) in [(self.opening.begun, CONNECTING), (self.opening.open, CONNECTED)] {
            if let Some(at) = at {
                span.event_at(at, name, Vec::new());
            }
        }
        let status = self.status.filter(|status| status.as_u16() >= 400);
        match (error, status) {
            (Some(error), _) => span.fail(error.as_str()),
            (None, Some(status)) => span.fail(status.as_u16().to_string()),
            (None, None) => {}
        }
    }

    /// Returns whether the request was sent, as far as this process can tell.
    fn is_sent(&self, error: Option<HttpError>) -> bool {
        match error {
            _ if self.status.is_some() => true,
            Some(HttpError::Timeout | HttpError::Cancelled) => {
                !self.was_sent && self.of.gate.is_sent()
            }
            error => error == Some(HttpError::Disconnected),
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let error = self.error.unwrap_or_else(|| {
            let is_late = now >= self.of.limit;
            Some(if is_late { HttpError::Timeout } else { HttpError::Cancelled })
        });
        self.finish_span(error);
        if self.is_sent(error) && self.opening.open.is_none() {
            self.of.requests.connections.count_reuse();
        }
        let end = HttpEnd { status: self.status.map(|status| status.as_u16()), error };
        self.of.endpoint.record(end, now.duration_since(self.start));
    }
}

/// Records what Stytch says about a failed request.
fn record_error(span: &mut Recorded, error: &Error) {
    if let Some(id) = error.request_id() {
        span.set(STYTCH_REQUEST_ID, id.to_owned());
    }
    if let Some(api) = error.api().filter(|api| !api.error_type.is_empty()) {
        span.set(STYTCH_ERROR_TYPE, api.error_type.clone());
    }
}

/// Returns the version of HTTP as the semantic conventions write it.
fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_2 => "2",
        http::Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// Returns why a request failed, unless its HTTP status says so.
fn why(error: &Error) -> Option<HttpError> {
    match error {
        Error::Unreachable(_) => Some(HttpError::Unreachable),
        Error::Disconnected(_) => Some(HttpError::Disconnected),
        Error::TimedOut { .. } => Some(HttpError::Timeout),
        Error::CircuitOpen { .. } => Some(HttpError::Cancelled),
        Error::Unreadable { .. } => Some(HttpError::Unreadable),
        Error::Rejected(_)
        | Error::Failed { .. }
        | Error::Intercepted { .. }
        | Error::Foreign { .. } => {
            let is_error = error.http_status().is_some_and(|status| status.as_u16() >= 400);
            (!is_error).then_some(HttpError::Unexpected)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{
        stytch::error::Unreadable,
        telemetry::trace::{Options, Root, Sampler, Tracer},
    };

    #[test]
    fn a_request_says_how_many_came_before_whatever_it_retries_and_what_was_not_made() {
        let metrics = Metrics::default();
        let url: Url = "http://localhost:1".parse().unwrap();
        let requests = Requests::new(&url, &Connections::default(), &metrics);
        let sampler = Sampler { follows_caller: false, root: Root::All };
        let options = Options { sampler, is_passed_on: false, shows_ids: false };
        let (tracer, mut spans) = Tracer::new(options, &metrics);
        let (gate, trace) = (SendGate::default(), tracer.call("Method", &HeaderMap::new()));
        let begun = AtomicU32::default();
        let recorder = requests.recorder("/v1/b2b/totp", &gate, Instant::now(), &trace, &begun);

        // An attempt whose secret was rotated, one without a request, and another retry.
        drop(recorder.begin(&Method::POST));
        drop(recorder.begin(&Method::POST));
        recorder.not_attempted();
        drop(recorder.begin(&Method::POST));

        let count = |it: &opentelemetry_sdk::trace::SpanData| {
            let is_count = |it: &&KeyValue| it.key.as_str() == RESEND_COUNT;
            it.attributes.iter().find(is_count).map(|it| it.value.to_string())
        };
        let counts: Vec<_> = spans.take(usize::MAX).iter().map(count).collect();
        assert_eq!(counts, [None, Some("1".to_owned()), Some("2".to_owned())]);
    }

    #[test]
    fn a_request_is_recorded_without_an_allocation_once_one_has_ended_so() {
        let metrics = Metrics::default();
        metrics.upstream_errors.declare(["known"]);
        let url: Url = "http://localhost:1".parse().unwrap();
        let requests = Requests::new(&url, &Connections::default(), &metrics);
        let (gate, trace) = (SendGate::default(), Tracer::unrecorded(&HeaderMap::new()));
        let limit = Instant::now() + Duration::from_secs(60);
        let http_status = StatusCode::OK;
        for (result, what) in [
            (Some(Ok(())), "a success"),
            (Some(Err(Error::TimedOut { sent: true })), "a timeout"),
            (
                Some(Err(Error::Unreadable {
                    http_status,
                    request_id: None,
                    why: Unreadable::Incomplete,
                })),
                "an answer that cannot be read",
            ),
            (None, "a request that is dropped"),
        ] {
            let record = |mut request: Request, response: Response| {
                let begun = AtomicU32::default();
                let recorder = requests.recorder("/v1/b2b/totp", &gate, limit, &trace, &begun);
                let mut record = recorder.begin(&Method::POST);
                record.sends(&mut request, || unreachable!());
                record.responded(&response);
                record.succeeded(|| unreachable!());
                if let Some(result) = &result {
                    record.finish(result);
                }
            };
            let exchange = || {
                let response = http::Response::new(String::new());
                (Request::new(Method::POST, url.clone()), Response::from(response))
            };
            let (request, response) = exchange();
            record(request, response);
            let (request, response) = exchange();

            let allocated = allocation_counter::measure(|| record(request, response));

            assert_eq!(allocated.count_total, 0, "{what}");
        }
    }
}
