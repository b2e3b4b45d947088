//! What the process reports about itself: logs, metrics, and a record of each call.

pub(crate) mod calls;
mod logs;
pub mod metrics;

pub use logs::{AUDIT, Filter, Format, filter, init};
