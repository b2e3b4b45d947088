//! One span of a trace.

use std::{sync::Arc, time::SystemTime};

use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{attributes::ERROR_TYPE, ids::Ids, queue::Queue};

/// The most events of a span. More come only from a call that is retried without end.
const MAX_EVENTS: usize = 32;

/// The longest text of an attribute, in bytes. What is beyond is cut off: ids are as long as their
/// caller likes.
const MAX_TEXT: usize = 256;

/// Where spans go when they end.
#[derive(Debug)]
pub(super) struct Recorder {
    queue: Queue,
    scope: InstrumentationScope,
}

impl Recorder {
    pub(super) fn new(queue: Queue) -> Self {
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME"));
        Self { queue, scope: scope.with_version(env!("CARGO_PKG_VERSION")).build() }
    }
}

/// A span that ends when it is dropped. That of a call that is not recorded is empty, and does
/// nothing.
#[derive(Debug, Default)]
pub struct Span(Option<Recorded>);

/// A span that is recorded.
#[derive(Debug)]
pub struct Recorded {
    recorder: Arc<Recorder>,
    /// `None` once it has ended.
    data: Option<Box<SpanData>>,
}

/// The place of a new span.
pub(super) struct Place {
    pub(super) ids: Ids,
    /// The span that it is a part of, and whether that is of another process.
    pub(super) parent: Option<(Ids, bool)>,
    pub(super) state: TraceState,
}

impl Span {
    pub(super) fn start(
        recorder: &Arc<Recorder>,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: SpanKind,
        place: Place,
    ) -> Self {
        let Place { ids, parent, state } = place;
        let start_time = SystemTime::now();
        let (parent_span_id, parent_span_is_remote) =
            parent.map_or((SpanId::INVALID, false), |(ids, is_remote)| (span_id(ids), is_remote));
        let data = SpanData {
            span_context: context(ids, false, state),
            parent_span_id,
            parent_span_is_remote,
            span_kind: kind,
            name: name.into(),
            start_time,
            end_time: start_time,
            attributes: Vec::with_capacity(16),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: recorder.scope.clone(),
        };
        Self(Some(Recorded { recorder: Arc::clone(recorder), data: Some(Box::new(data)) }))
    }

    /// Returns the span if it is recorded, for what costs an allocation.
    pub fn recorded(&mut self) -> Option<&mut Recorded> {
        self.0.as_mut()
    }

    /// Returns its ids, if it is recorded.
    pub fn ids(&self) -> Option<Ids> {
        let context = &self.0.as_ref()?.data.as_ref()?.span_context;
        let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
        Ids::new(u128::from_be_bytes(trace), u64::from_be_bytes(span), true)
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = self.recorded() {
            span.set(key, value);
        }
    }

    /// Adds an event.
    pub fn event(&mut self, name: &'static str) {
        if let Some(span) = self.recorded() {
            span.event(name, Vec::new());
        }
    }

    /// Marks the span as failed.
    pub fn fail(&mut self, error_type: impl Into<Value>) {
        if let Some(span) = self.recorded() {
            span.fail(error_type);
        }
    }
}

impl Recorded {
    /// Sets an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let Some(data) = &mut self.data else { return };
        let value = cut(value.into());
        match data.attributes.iter_mut().find(|it| it.key.as_str() == key) {
            Some(attribute) => attribute.value = value,
            None => data.attributes.push(KeyValue::new(key, value)),
        }
    }

    /// Adds an event.
    pub fn event(&mut self, name: &'static str, attributes: Vec<KeyValue>) {
        self.event_at(SystemTime::now(), name, attributes);
    }

    /// Adds an event of the past.
    pub fn event_at(&mut self, at: SystemTime, name: &'static str, attributes: Vec<KeyValue>) {
        let Some(data) = &mut self.data else { return };
        if data.events.events.len() < MAX_EVENTS {
            data.events.events.push(Event::new(name, at, attributes, 0));
        } else {
            data.events.dropped_count += 1;
        }
    }

    /// Marks the span as failed.
    pub fn fail(&mut self, error_type: impl Into<Value>) {
        self.set(ERROR_TYPE, error_type);
        if let Some(data) = &mut self.data {
            data.status = Status::error("");
        }
    }

    /// Links the span to another one, of another trace as a rule.
    pub(super) fn link(&mut self, to: Ids) {
        let Some(data) = &mut self.data else { return };
        let link = Link::with_context(context(to, true, TraceState::NONE));
        data.links.links.push(link);
    }

    pub(super) fn state(&self) -> TraceState {
        self.data.as_ref().map_or(TraceState::NONE, |data| data.span_context.trace_state().clone())
    }

    pub(super) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(mut data) = self.data.take() {
            data.end_time = SystemTime::now();
            data.events.events.sort_by_key(|event| event.timestamp);
            self.recorder.queue.push(data);
        }
    }
}

fn cut(value: Value) -> Value {
    match value {
        Value::String(text) if text.as_str().len() > MAX_TEXT => {
            let text = text.as_str();
            text[..text.floor_char_boundary(MAX_TEXT)].to_owned().into()
        }
        value => value,
    }
}

fn context(ids: Ids, is_remote: bool, state: TraceState) -> SpanContext {
    let trace_id = TraceId::from_bytes(ids.trace_id().to_bytes());
    let flags = TraceFlags::default().with_sampled(ids.is_sampled());
    SpanContext::new(trace_id, span_id(ids), flags, is_remote, state)
}

fn span_id(ids: Ids) -> SpanId {
    SpanId::from_bytes(ids.span_id().to_bytes())
}
