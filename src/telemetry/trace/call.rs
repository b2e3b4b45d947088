//! The trace of a call: where it stands, and its span if that is recorded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanKind, TraceState};

use super::{
    ids::{Ids, TRACEPARENT},
    queue::{Spans, queue},
    sampler::Sampler,
    span::{Place, Recorded, Recorder, Span},
};
use crate::telemetry::metrics::Metrics;

/// The header that passes on what tracing systems add to a trace.
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest [`TRACESTATE`] to take from a caller. The standard asks for no more.
const MAX_STATE: usize = 512;

/// What is recorded, and who learns of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Which calls are recorded.
    pub sampler: Sampler,
    /// Whether requests to Stytch carry the trace.
    pub is_passed_on: bool,
    /// Whether spans show the ids of organizations, members and TOTP registrations.
    pub shows_ids: bool,
}

/// Begins the traces of calls. The default records nothing. Clones share the queue.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    options: Options,
    recorder: Arc<Recorder>,
}

impl Tracer {
    /// Creates a tracer, and the queue of what it records.
    pub fn new(options: Options, metrics: &Metrics) -> (Self, Spans) {
        let (queue, spans) = queue(metrics);
        let recorder = Arc::new(Recorder::new(queue));
        (Self(Some(Arc::new(On { options, recorder }))), spans)
    }

    /// Begins the trace of a call to `method` with these headers, or its part of the caller's.
    pub fn call(&self, method: &'static str, headers: &HeaderMap) -> Trace {
        let caller = Ids::of(headers);
        let Some(On { options, recorder }) = self.0.as_deref() else {
            return Trace::unrecorded(caller.unwrap_or_else(Ids::random));
        };
        let ids = caller.map_or_else(Ids::random, Ids::child);
        let is_sampled = options.sampler.is_sampled(caller, ids.trace_id());
        let mut trace = Trace::unrecorded(ids.sampled(is_sampled));
        if !is_sampled && !options.is_passed_on {
            return trace;
        }
        // Without a trace, there is nothing for the state to be about.
        let state = caller.and_then(|_| state(headers));
        if is_sampled {
            let place = Place {
                ids: trace.ids,
                parent: caller.map(|ids| (ids, true)),
                state: state.as_ref().map_or(TraceState::NONE, |(state, _)| state.clone()),
            };
            let span = Span::start(recorder, method, SpanKind::Server, place);
            trace.span = Some(Arc::new(Mutex::new(span)));
        }
        trace.shows_ids = options.shows_ids;
        trace.passed_on = options.is_passed_on.then(|| state.map(|(_, value)| value));
        trace
    }

    /// Returns the trace of a call that is not recorded, such as a probe.
    pub fn unrecorded(headers: &HeaderMap) -> Trace {
        Trace::unrecorded(Ids::of(headers).unwrap_or_else(Ids::random))
    }
}

/// Where a call stands in its trace, and its span if that is recorded. Clones share the span, which
/// ends with the last of them.
#[derive(Clone, Debug)]
pub struct Trace {
    ids: Ids,
    span: Option<Arc<Mutex<Span>>>,
    shows_ids: bool,
    /// The state to pass on with the trace, if the trace is passed on.
    passed_on: Option<Option<HeaderValue>>,
}

impl Trace {
    fn unrecorded(ids: Ids) -> Self {
        Self { ids, span: None, shows_ids: false, passed_on: None }
    }

    /// Returns the ids of the call's span. Those of the caller's, if this service records no trace.
    pub fn ids(&self) -> Ids {
        self.ids
    }

    /// Returns the ids of the call's span, if that is recorded.
    pub fn recorded_ids(&self) -> Option<Ids> {
        self.span.as_ref().map(|_| self.ids)
    }

    /// Passes the call's span to `record`, if it is recorded.
    pub fn record(&self, record: impl FnOnce(&mut Recorded)) {
        if let Some(span) = &self.span
            && let Some(span) = lock(span).recorded()
        {
            record(span);
        }
    }

    /// Passes the call's span to `record`, if it is recorded and shows ids.
    pub fn record_ids(&self, record: impl FnOnce(&mut Recorded)) {
        if self.shows_ids {
            self.record(record);
        }
    }

    /// Whether spans of this call show ids.
    pub fn shows_ids(&self) -> bool {
        self.shows_ids
    }

    /// Links the call's span to that of another call.
    pub fn link(&self, to: Ids) {
        self.record(|span| span.link(to));
    }

    /// Begins a span of something that the call waits for.
    pub fn child(&self, kind: SpanKind, name: impl FnOnce() -> String) -> Span {
        let Some(span) = &self.span else { return Span::default() };
        let mut span = lock(span);
        let Some(span) = span.recorded() else { return Span::default() };
        let parent = Some((self.ids, false));
        let place = Place { ids: self.ids.child(), parent, state: span.state() };
        Span::start(span.recorder(), name(), kind, place)
    }

    /// Adds the trace to the headers of a request that `span` is about, if it is passed on.
    pub fn pass_on(&self, span: &Span, headers: &mut HeaderMap) {
        let Some(state) = &self.passed_on else { return };
        let ids = span.ids().unwrap_or(self.ids);
        let value = HeaderValue::try_from(ids.to_string()).expect("digits and dashes");
        headers.insert(&TRACEPARENT, value);
        if let Some(state) = state {
            headers.insert(&TRACESTATE, state.clone());
        }
    }
}

fn lock(span: &Mutex<Span>) -> MutexGuard<'_, Span> {
    span.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the state of the caller's trace. A malformed one counts as none.
fn state(headers: &HeaderMap) -> Option<(TraceState, HeaderValue)> {
    let values: Vec<_> = headers.get_all(&TRACESTATE).iter().map(HeaderValue::to_str).collect();
    let text = values.into_iter().collect::<Result<Vec<_>, _>>().ok()?.join(",");
    if text.is_empty() || text.len() > MAX_STATE {
        return None;
    }
    let state: TraceState = text.parse().ok()?;
    let value = HeaderValue::try_from(text).ok()?;
    Some((state, value))
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::SpanData;

    use super::*;
    use crate::telemetry::trace::Root;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tracer(root: Root, is_passed_on: bool) -> (Tracer, Spans) {
        let sampler = Sampler { follows_caller: true, root };
        let options = Options { sampler, is_passed_on, shows_ids: false };
        Tracer::new(options, &Metrics::default())
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn ended(spans: &mut Spans) -> Vec<SpanData> {
        spans.take(usize::MAX)
    }

    #[test]
    fn a_span_ends_with_the_last_handle_of_its_call_and_not_before() {
        let (tracer, mut spans) = tracer(Root::All, false);
        let trace = tracer.call("Service/Method", &headers(&[("traceparent", PARENT)]));
        let clone = trace.clone();
        drop(trace.child(SpanKind::Client, || "child".to_owned()));

        drop(trace);
        let [child] = ended(&mut spans).try_into().expect("the child alone");
        drop(clone);
        let [call] = ended(&mut spans).try_into().expect("the call");

        assert_eq!((&*child.name, &*call.name), ("child", "Service/Method"));
        assert_eq!(child.parent_span_id, call.span_context.span_id());
        assert_eq!(call.parent_span_id.to_string(), "b7ad6b7169203331");
        assert!(call.parent_span_is_remote && !child.parent_span_is_remote);
        assert!(call.end_time >= child.end_time && child.end_time >= child.start_time);
        for span in [call, child] {
            let trace_id = span.span_context.trace_id().to_string();
            assert_eq!(trace_id, "0af7651916cd43dd8448eb211c80319c");
        }
    }

    #[test]
    fn what_is_not_sampled_has_ids_and_no_span() {
        let parent = PARENT.replace("-01", "-00");
        for (tracer, parent) in [
            (Tracer::default(), PARENT),
            (tracer(Root::All, false).0, parent.as_str()),
            (tracer(Root::None, false).0, "malformed"),
        ] {
            let trace = tracer.call("Service/Method", &headers(&[("traceparent", parent)]));

            assert_eq!(trace.recorded_ids(), None);
            assert!(trace.child(SpanKind::Client, || unreachable!()).ids().is_none());
            trace.record(|_| unreachable!());
        }
        let trace = Tracer::default().call("Service/Method", &headers(&[("traceparent", PARENT)]));
        assert_eq!(trace.ids().to_string(), PARENT, "the caller's, for log lines");
    }

    #[test]
    fn a_call_that_is_not_sampled_costs_no_allocation() {
        let parent = PARENT.replace("-01", "-00");
        let ratio = Root::Ratio(f64::MIN_POSITIVE);
        for (tracer, caller) in [
            (Tracer::default(), &[][..]),
            (Tracer::default(), &[("traceparent", PARENT), ("tracestate", "a=1")]),
            (tracer(Root::None, false).0, &[]),
            (tracer(ratio, false).0, &[]),
            (tracer(Root::All, false).0, &[("traceparent", &*parent), ("tracestate", "a=1")]),
        ] {
            let headers = headers(caller);
            let call = || {
                let trace = tracer.call("Service/Method", &headers);
                let clone = trace.clone();
                clone.record(|_| unreachable!());
                clone.link(trace.ids());
                let mut span = trace.child(SpanKind::Client, || unreachable!());
                span.set("name", 1);
                span.event("event");
                let mut sent = HeaderMap::new();
                trace.pass_on(&span, &mut sent);
                assert!(sent.is_empty() && span.recorded().is_none());
            };
            // Seeds the random numbers of this thread.
            call();

            assert_eq!(allocation_counter::measure(call).count_total, 0, "{tracer:?}");
        }
        let (tracer, _spans) = tracer(Root::All, false);
        let sampled = || drop(tracer.call("Service/Method", &HeaderMap::new()));
        assert!(allocation_counter::measure(sampled).count_total > 0, "they are counted");
    }

    #[test]
    fn a_trace_is_passed_on_only_if_that_is_set_and_then_with_its_state() {
        let caller = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
        for root in [Root::All, Root::None] {
            let (tracer, _spans) = tracer(root, true);
            let trace = tracer.call("Service/Method", &headers(&caller));
            let span = trace.child(SpanKind::Client, || "child".to_owned());
            let mut sent = HeaderMap::new();

            trace.pass_on(&span, &mut sent);

            assert_eq!(Ids::of(&sent), span.ids());
            assert_eq!(sent["tracestate"], "a=1,b=2");
        }
        let (tracer, _spans) = tracer(Root::All, false);
        let trace = tracer.call("Service/Method", &headers(&caller));
        let mut sent = HeaderMap::new();
        trace.pass_on(&Span::default(), &mut sent);
        assert!(sent.is_empty());
    }

    #[test]
    fn a_malformed_state_is_left_out_and_the_trace_is_kept() {
        let long = format!("a={}", "x".repeat(MAX_STATE));
        for state in ["no equals sign", "A B=1", &long] {
            let (tracer, mut spans) = tracer(Root::None, false);
            let caller = headers(&[("traceparent", PARENT), ("tracestate", state)]);

            drop(tracer.call("Service/Method", &caller));

            let [span] = ended(&mut spans).try_into().expect("the caller decided");
            assert_eq!(span.span_context.trace_state().header(), "", "{state}");
        }
    }

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let metrics = Metrics::default();
        let options = Options {
            sampler: Sampler { follows_caller: false, root: Root::All },
            is_passed_on: false,
            shows_ids: false,
        };
        let (tracer, mut spans) = Tracer::new(options, &metrics);

        for _ in 0..10_000 {
            drop(tracer.call("Service/Method", &HeaderMap::new()));
        }

        let dropped =
            metrics.trace_spans_dropped.get(crate::telemetry::metrics::Dropped::QueueFull).get();
        assert_eq!(ended(&mut spans).len() as u64 + dropped, 10_000);
        assert!(dropped > 1000, "{dropped}");
    }
}
