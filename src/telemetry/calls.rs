//! The log record of each call.

use tokio::time::Instant;
use tonic::Code;

/// Logs a call when it ends. A call whose caller goes away first is logged as `Cancelled`.
pub(crate) struct Record {
    method: &'static str,
    start: Instant,
    code: Code,
}

impl Record {
    pub(crate) fn start(method: &'static str) -> Self {
        Self { method, start: Instant::now(), code: Code::Cancelled }
    }

    pub(crate) fn finish(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        tracing::debug!(
            method = self.method,
            code = ?self.code,
            elapsed = ?self.start.elapsed(),
            "call ended"
        );
    }
}
