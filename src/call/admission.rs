//! Admission: how many calls may be in flight, in the process and on one connection.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::{sync::Notify, time::Instant};

use crate::{access::Caller, connection::OpenCall, stytch::SendGate};

/// One call in flight. Clones are the same call; it is over when the last is dropped.
#[derive(Clone, Debug)]
pub struct Call {
    /// The gate that the request to Stytch passes.
    pub gate: SendGate,
    /// When the caller stops waiting, if it said so.
    pub deadline: Option<Instant>,
    /// When it was admitted.
    pub start: Instant,
    method: &'static str,
    caller: Arc<Caller>,
    permit: Arc<Permit>,
}

impl Call {
    /// The method's full name, as in `stytch.b2b.totp.v1.TotpService/Create`.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The call is valid and allowed, and is let through to Stytch: its connection is of use.
    pub fn let_through(&self) {
        if let Some(open) = &self.permit.open {
            open.count_as_use();
        }
    }

    /// The same call for work that goes on whatever its caller does: without the caller's deadline, and with
    /// a state of its own. The caller is from now on told that the request may have left.
    pub fn detached(&self) -> Self {
        self.gate.mark_sent();
        Self { gate: SendGate::default(), deadline: None, ..self.clone() }
    }
}

/// A connection that a proxy shares gets this many, however few places there are.
const SMALLEST_SHARE: usize = 100;

/// Counts the calls of the process, those included whose caller has gone, and admits no more than its
/// limit, of which one connection gets a share. Clones count together.
#[derive(Clone, Debug)]
pub struct InFlight(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    limit: usize,
    share: usize,
    count: AtomicUsize,
    idle: Notify,
    started: Instant,
    last_warning: AtomicU64,
}

impl InFlight {
    /// Admits up to `limit` calls at a time.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Counter {
            limit,
            share: (limit / 2).max(SMALLEST_SHARE),
            count: AtomicUsize::new(0),
            idle: Notify::new(),
            started: Instant::now(),
            last_warning: AtomicU64::new(0),
        }))
    }

    /// How many calls of one connection there may be.
    pub fn share(&self) -> usize {
        self.0.share
    }

    /// Admits a call of `method`, unless the process is full, or its connection has its share. `open` is the call on
    /// that connection, if it came by one.
    pub fn admit(
        &self,
        method: &'static str,
        caller: Arc<Caller>,
        deadline: Option<Instant>,
        open: Option<OpenCall>,
    ) -> Option<Call> {
        if open.as_ref().is_some_and(|open| open.on_its_connection() > self.0.share) {
            self.warn();
            return None;
        }
        let below_limit = |count| (count < self.0.limit).then_some(count + 1);
        if self.0.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, below_limit).is_err() {
            self.warn();
            return None;
        }
        let permit = Permit { counter: Arc::clone(&self.0), open };
        Some(Call {
            gate: SendGate::default(),
            deadline,
            start: Instant::now(),
            method,
            caller,
            permit: Arc::new(permit),
        })
    }

    /// How many calls there are.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Waits until there are none.
    pub async fn idle(&self) {
        loop {
            let notified = self.0.idle.notified();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Says once a second at most that calls are being shed.
    fn warn(&self) {
        let now = self.0.started.elapsed().as_secs() + 1;
        if self.0.last_warning.swap(now, Ordering::Relaxed) != now {
            let Counter { limit, share, .. } = *self.0;
            tracing::warn!(
                limit,
                share,
                "shedding calls: too many in flight, or on one connection"
            );
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
