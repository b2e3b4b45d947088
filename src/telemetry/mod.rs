//! What the process reports about itself: logs, metrics, and a record of each call.

mod audit_json;
pub(crate) mod calls;
mod logs;
pub mod metrics;
mod output;
mod trail;

pub use logs::{AUDIT, Filter, Format, filter, init};
pub(crate) use trail::write_before_response;
pub use trail::{AuditWrite, flush};
