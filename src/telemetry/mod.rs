//! What the process reports about itself: logs, the audit trail and metrics.

pub(crate) mod access_log;
pub(crate) mod calls;
mod counts;
mod json;
pub(crate) mod limit;
mod logs;
pub mod metrics;
mod output;
#[cfg(unix)]
mod stderr;
#[cfg(not(unix))]
#[path = "plain_stderr.rs"]
mod stderr;
pub mod trace;
mod trail;

pub use counts::{Counts, Loss};
pub use logs::{AUDIT, Filter, Format, filter, init};
pub use trail::{AuditWrite, Backlog, backlog, counts, flush, say};
pub(crate) use trail::{
    Owed, is_backed_up, let_wait, owed, stop_waiting, waiting, write_all, write_before_response,
    written,
};
