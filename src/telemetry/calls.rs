//! The record of each call: one line in the log when it ends.

use tokio::time::Instant;
use tonic::Code;

/// Writes one line when a call ends, also when its caller goes away first.
pub(crate) struct Record {
    method: &'static str,
    start: Instant,
    code: Code,
}

impl Record {
    pub(crate) fn start(method: &'static str) -> Self {
        Self { method, start: Instant::now(), code: Code::Cancelled }
    }

    pub(crate) fn end(&mut self, code: Code) {
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
