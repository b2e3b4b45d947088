//! Sends traces to a receiver of OTLP, such as OpenTelemetry's collector.
//!
//! [`Exporter`] has a thread and a runtime of its own, so that a receiver that is slow, full or
//! gone costs no call anything: spans that find the queue full are dropped and counted.

mod exporter;
mod settings;
mod transport;

pub use exporter::Exporter;
pub use settings::{Protocol, Settings};
