//! Admission: limits the calls in flight, in the process and on each connection.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    access::Caller,
    connection::OpenCall,
    stytch::SendGate,
    telemetry::{limit::Limit, metrics::Metrics, trace::Trace},
};

/// A call in flight. Clones are handles to the same call; dropping the last one returns its permit.
#[derive(Clone, Debug)]
pub struct Call {
    /// The gate that the request to Stytch passes.
    pub gate: SendGate,
    /// When the caller stops waiting, if it set a deadline.
    pub deadline: Option<Instant>,
    /// When the call was admitted.
    pub start: Instant,
    method: &'static str,
    caller: Arc<Caller>,
    // Dropped before the permit: once that is returned, the drain sends the last spans.
    trace: Trace,
    permit: Arc<Permit>,
}

impl Call {
    /// Returns the full name of the method, such as `stytch.b2b.totp.v1.TotpService/Create`.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Returns who makes the call.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns where the call stands in its trace. Its span ends with the last handle.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Returns the metrics of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.permit.counter.metrics
    }

    /// Records that the call, valid and allowed, is to be forwarded to Stytch, or answered with the
    /// outcome of one that was. That makes its connection a proven one, see `connection/slots.rs`.
    pub fn mark_forwarded(&self) {
        if let Some(open) = &self.permit.open {
            open.mark_forwarded();
        }
    }

    /// Returns a handle for work that continues whatever the caller does: without the caller's
    /// deadline, and with its own record of what was sent. For this call, the request counts as
    /// sent from now on.
    pub fn detached(&self) -> Self {
        self.gate.mark_sent();
        Self { gate: SendGate::default(), deadline: None, ..self.clone() }
    }
}

/// The smallest share of a connection, whatever the limit, because callers behind a proxy share
/// one.
const MIN_SHARE: usize = 100;

/// Counts the calls in flight, including those whose caller has gone, and admits new ones up to a
/// limit for the process and a share of it for each connection. Clones share the count.
#[derive(Clone, Debug)]
pub struct InFlight(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    limit: usize,
    share: usize,
    count: AtomicUsize,
    shed_by_process: AtomicU64,
    shed_by_connection: AtomicU64,
    idle: Notify,
    warnings: Limit,
    metrics: Metrics,
}

impl InFlight {
    /// Creates a counter that admits up to `limit` calls at a time, which count in `metrics`
    /// how they end.
    pub fn new(limit: usize, metrics: Metrics) -> Self {
        Self(Arc::new(Counter {
            limit,
            share: (limit / 2).max(MIN_SHARE),
            count: AtomicUsize::new(0),
            shed_by_process: AtomicU64::new(0),
            shed_by_connection: AtomicU64::new(0),
            idle: Notify::new(),
            warnings: Limit::new(),
            metrics,
        }))
    }

    /// Returns the most calls that may be in flight on one connection.
    pub fn share(&self) -> usize {
        self.0.share
    }

    /// Admits a call to `method`. Returns `None` if the process is at its limit or the connection
    /// at its share. `open` counts the call on its connection, if it came over one.
    pub fn admit(
        &self,
        method: &'static str,
        caller: Arc<Caller>,
        deadline: Option<Instant>,
        open: Option<OpenCall>,
        trace: Trace,
    ) -> Option<Call> {
        if open.as_ref().is_some_and(|open| open.calls_on_connection() > self.0.share) {
            self.0.shed_by_connection.fetch_add(1, Ordering::Relaxed);
            self.warn("connection", self.0.share);
            return None;
        }
        let below_limit = |count| (count < self.0.limit).then_some(count + 1);
        if self.0.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, below_limit).is_err() {
            self.0.shed_by_process.fetch_add(1, Ordering::Relaxed);
            self.warn("process", self.0.limit);
            return None;
        }
        let permit = Permit { counter: Arc::clone(&self.0), open };
        Some(Call {
            gate: SendGate::default(),
            deadline,
            start: Instant::now(),
            method,
            caller,
            trace,
            permit: Arc::new(permit),
        })
    }

    /// Returns the most calls that may be in flight.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Returns how many calls were shed because the process was at its limit.
    pub fn shed_by_process(&self) -> u64 {
        self.0.shed_by_process.load(Ordering::Relaxed)
    }

    /// Returns how many calls were shed because their connection was at its share.
    pub fn shed_by_connection(&self) -> u64 {
        self.0.shed_by_connection.load(Ordering::Relaxed)
    }

    /// Returns the number of calls in flight.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Waits until no call is in flight.
    pub async fn idle(&self) {
        loop {
            let notified = self.0.idle.notified();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Logs that calls are shed, because so many are in flight in the process or on a connection.
    fn warn(&self, of: &'static str, limit: usize) {
        if let Some(suppressed) = self.0.warnings.pass() {
            tracing::warn!(of, limit, suppressed, "shedding calls: too many in flight");
        }
    }
}

#[derive(Debug)]
struct Permit {
    counter: Arc<Counter>,
    open: Option<OpenCall>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.counter.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.counter.idle.notify_waiters();
        }
    }
}
