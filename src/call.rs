//! What the layers know of a call and its handler needs: its caller, method and deadline, its place in the
//! process, and whether it has been sent. The layers put a [`Call`] into the request's extensions.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{sync::Notify, time::Instant};
use tonic::Status;

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

/// Runs a call in place, as any future. But when it is dropped after the request has been sent, because
/// the caller went away or its time ran out, the rest runs on in a task of its own, so that its outcome
/// is known and the answer is read. Before that the call is given up, and simply dropped.
#[must_use = "futures do nothing unless polled"]
pub struct ToItsEnd<T: Send + 'static> {
    rest: Option<(Work<T>, Call)>,
}

type Work<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

impl<T: Send + 'static> ToItsEnd<T> {
    /// `future` is the work of `call`.
    pub fn new(
        call: Call,
        future: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Self {
        Self { rest: Some((Box::pin(future), call)) }
    }
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = Result<T, Status>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, _) = self.rest.as_mut().expect("not polled after its end");
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        let Some((future, call)) = self.rest.take() else { return };
        // Without a runtime the process is ending, and the drain has had its time.
        let runtime = tokio::runtime::Handle::try_current();
        // If the gate cannot be closed, the request was sent, or a connection holds it and drops it with
        // the future.
        let runs_on = call.gate.close() && call.gate.is_sent();
        let (true, Ok(runtime)) = (runs_on, runtime) else { return };
        runtime.spawn(async move {
            let code = future.await.map_or_else(|status| status.code(), |_| tonic::Code::Ok);
            tracing::info!(?code, "a call ended after its caller had gone");
            drop(call);
        });
    }
}
