//! What the process says of itself: logs, metrics, and the record of each call.

pub(crate) mod calls;
mod logs;
pub mod metrics;

pub use logs::{AUDIT, Filter, Format, filter, init};
