//! Room for connections: no more than a limit are open, and those that do nothing make way.
//!
//! Whoever opens connections and says nothing could otherwise keep everybody else out. So when there is no room, the
//! connection that has had no call open for the longest time is closed, once that is [`SHORTEST`]: one in its
//! handshake, one that dribbles, one that is idle. Those on which no call was ever admitted go first. Clients of gRPC
//! connect again when they have something to say.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// How long a connection may be idle, whatever happens.
const SHORTEST: Duration = Duration::from_millis(500);
/// How often it is looked whether one makes way.
const LOOK: Duration = Duration::from_millis(20);
/// Streams of gRPC's own services on a connection: anybody may watch the health of this one.
const MAX_WATCHES: usize = 32;

#[derive(Debug)]
pub(super) struct Slots {
    room: Arc<Semaphore>,
    limit: usize,
    started: Instant,
    /// In the order of arrival; those that have closed are swept out now and then.
    open: Mutex<Vec<Weak<Activity>>>,
}

/// What a connection does.
#[derive(Debug)]
pub struct Activity {
    started: Instant,
    /// Calls that are open.
    calls: AtomicUsize,
    /// Streams of gRPC's own services that are open.
    watches: AtomicUsize,
    /// Whether a call has been admitted on it.
    served: AtomicBool,
    /// Since when it is as it is, in milliseconds.
    since: AtomicU64,
    evicted: AtomicBool,
    close: Notify,
}

/// A place, held until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

/// A call on a connection, over when dropped.
#[derive(Debug)]
pub struct OpenCall(Arc<Activity>);

/// A stream of gRPC's own services, over when dropped.
#[derive(Debug)]
pub(super) struct Watch(Arc<Activity>);

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        let room = Arc::new(Semaphore::new(limit));
        Self { room, limit, started: Instant::now(), open: Mutex::new(Vec::new()) }
    }

    /// Waits for a place, and makes an idle connection give its own.
    pub(super) async fn take(&self) -> Slot {
        loop {
            if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
                return self.occupy(permit);
            }
            self.evict();
            if let Ok(Ok(permit)) = timeout(LOOK, Arc::clone(&self.room).acquire_owned()).await {
                return self.occupy(permit);
            }
        }
    }

    fn occupy(&self, permit: OwnedSemaphorePermit) -> Slot {
        let activity = Arc::new(Activity {
            started: self.started,
            calls: AtomicUsize::new(0),
            watches: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            since: AtomicU64::new(0),
            evicted: AtomicBool::new(false),
            close: Notify::new(),
        });
        activity.touch();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.limit.saturating_mul(2) {
            open.retain(|it| it.strong_count() > 0);
        }
        open.push(Arc::downgrade(&activity));
        Slot { activity, _permit: permit }
    }

    /// Closes the connection that has been idle for the longest time, if one has for long enough: first of those that
    /// were never of use.
    fn evict(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|it| it.strong_count() > 0);
        let idle = open
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|it| it.calls.load(Ordering::Acquire) == 0 && it.idle_for() >= SHORTEST)
            .min_by_key(|it| (it.served.load(Ordering::Relaxed), it.since.load(Ordering::Relaxed)));
        if let Some(idle) = idle {
            // Not chosen again while it closes.
            idle.touch();
            idle.evicted.store(true, Ordering::Release);
            idle.close.notify_one();
            tracing::debug!("an idle connection makes way for another");
        }
    }
}

impl Activity {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn touch(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    fn idle_for(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.since.load(Ordering::Relaxed)))
    }

    /// Counts a call until the value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> OpenCall {
        self.calls.fetch_add(1, Ordering::AcqRel);
        OpenCall(Arc::clone(self))
    }

    /// Counts a stream of gRPC's own services until the value is dropped, unless there are too many. It does not
    /// keep the connection from making way.
    pub(super) fn watch(self: &Arc<Self>) -> Option<Watch> {
        let watch = Watch(Arc::clone(self));
        let before = self.watches.fetch_add(1, Ordering::AcqRel);
        self.touch();
        (before < MAX_WATCHES).then_some(watch)
    }

    /// Whether the connection is to close.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Acquire)
    }

    /// Waits until the connection is to close.
    pub(super) async fn closing(self: Arc<Self>) {
        self.close.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::AcqRel);
    }
}

impl OpenCall {
    /// The call is admitted, so its connection is of use.
    pub fn admitted(&self) {
        self.0.served.store(true, Ordering::Relaxed);
    }

    /// How many there are on its connection, itself included.
    pub fn on_its_connection(&self) -> usize {
        self.0.calls.load(Ordering::Acquire)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.touch();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_makes_way_and_busy_ones_do_not() {
        let slots = Arc::new(Slots::new(3));
        let (busy, old, young) = (slots.take().await, slots.take().await, slots.take().await);
        let call = busy.activity.begin();
        advance(SHORTEST / 2).await;
        drop(young.activity.begin());
        let mut closings =
            [&busy, &old, &young].map(|it| Box::pin(Arc::clone(&it.activity).closing()));

        let taking = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take().await }
        });
        let [busy_closes, old_closes, young_closes] = &mut closings;
        old_closes.await;
        drop(old);
        taking.await.expect("a place");

        let soon = Duration::from_millis(1);
        assert!(
            timeout(soon, busy_closes).await.is_err() && timeout(soon, young_closes).await.is_err()
        );
        drop(call);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_of_use_outlives_those_that_never_were() {
        let slots = Slots::new(2);
        let useful = slots.take().await;
        useful.activity.begin().admitted();
        advance(SHORTEST).await;
        let silent = slots.take().await;
        advance(SHORTEST * 2).await;

        slots.evict();

        assert!(silent.activity.is_evicted() && !useful.activity.is_evicted());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_closed_while_there_is_room() {
        let slots = Slots::new(2);
        let first = slots.take().await;
        advance(SHORTEST * 10).await;

        let _second = slots.take().await;

        let closes = Arc::clone(&first.activity).closing();
        assert!(timeout(SHORTEST, closes).await.is_err());
    }
}
