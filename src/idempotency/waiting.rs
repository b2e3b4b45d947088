//! Counts the calls that wait for another call with the same key.

use crate::telemetry::metrics::Metrics;

/// A call that waits, counted until drop.
pub(super) struct Waiting<'a>(&'a Metrics);

impl<'a> Waiting<'a> {
    pub(super) fn begin(metrics: &'a Metrics) -> Self {
        metrics.idempotency_waiters.inc();
        Self(metrics)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.idempotency_waiters.dec();
    }
}
