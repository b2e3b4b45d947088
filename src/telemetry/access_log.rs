//! The access log: a line for each call when it ends, on request.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

/// The log target of access lines. They are logged only if the filter names it.
pub(super) const ACCESS: &str = "access";

static IS_ON: AtomicBool = AtomicBool::new(false);

pub(super) fn turn_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// What the access log shows of how a call ended, besides its code.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The reason of a failure.
    pub(crate) reason: Option<String>,
    /// What is known of the call at Stytch, unless it is none of the contract.
    pub(crate) upstream: Option<&'static str>,
    /// Stytch's id for the call.
    pub(crate) request_id: Option<String>,
}

/// Logs a call when it ends. A call whose caller goes away first is logged as `CANCELLED`.
#[derive(Debug)]
pub(crate) struct Record<P: Display> {
    method: &'static str,
    peer: Option<P>,
    start: Instant,
    /// The name of the gRPC status code.
    code: &'static str,
    /// Further facts, if [`Record::finish`] asks for them.
    facts: Facts,
}

impl<P: Display> Record<P> {
    /// Starts with a call from `peer`.
    pub(crate) fn start(method: &'static str, peer: Option<P>) -> Self {
        let (start, facts) = (Instant::now(), Facts::default());
        Self { method, peer, start, code: "CANCELLED", facts }
    }

    /// Returns when the call started.
    pub(crate) fn started(&self) -> Instant {
        self.start
    }

    /// Records how the call ended. Asks for facts only if they are logged.
    pub(crate) fn finish(&mut self, code: &'static str, facts: impl FnOnce() -> Facts) {
        self.code = code;
        if IS_ON.load(Ordering::Relaxed) {
            self.facts = facts();
        }
    }
}

impl<P: Display> Drop for Record<P> {
    fn drop(&mut self) {
        let Self { method, peer, start, code, facts } = self;
        let elapsed = start.elapsed();
        tracing::debug!(method, code, ?elapsed, "call ended");
        if IS_ON.load(Ordering::Relaxed) {
            tracing::info!(
                target: ACCESS,
                message = "call ended",
                method,
                code,
                reason = facts.reason,
                peer = peer.as_ref().map(tracing::field::display),
                elapsed_seconds = elapsed.as_secs_f64(),
                upstream = facts.upstream,
                stytch_request_id = facts.request_id,
            );
        }
    }
}
