//! Traces: what is recorded of a call, for `otlp` to send.
//!
//! Spans have the data model of OpenTelemetry's SDK, but not its tracer, which allocates for calls
//! that are not sampled. Here, such a call costs its [`Ids`], and recording costs it a branch. A
//! span that ends goes into a bounded queue, without a lock and without waking anybody.

pub mod attributes;
mod call;
mod ids;
mod queue;
mod sampler;
mod span;

pub use call::{Options, Trace, Tracer};
pub use ids::{Ids, SpanId, TraceId};
pub use queue::Spans;
pub use sampler::{Root, Sampler};
pub use span::{Recorded, Span};
