//! The log of failures of the store, and of their end.

use std::sync::atomic::{AtomicBool, Ordering};

use super::store::StoreError;
use crate::telemetry::limit::ByCaller;

/// Whether the store has failed since it last worked, as far as the log says so.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_failing: AtomicBool,
}

impl Health {
    /// Logs that a call is refused because the store at `address` failed.
    pub(super) fn fail(&self, address: &str, error: &StoreError) {
        static WARNINGS: ByCaller = ByCaller::new();
        if let Some(suppressed) = WARNINGS.pass() {
            self.is_failing.store(true, Ordering::Relaxed);
            tracing::warn!(
                address,
                %error,
                suppressed,
                "idempotency store failed: a call with a key is refused"
            );
        }
    }

    /// Logs that the store works again, if the log says that it does not.
    pub(super) fn recover(&self, address: &str) {
        if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed)
        {
            tracing::info!(address, "the idempotency store can be used again");
        }
    }
}
