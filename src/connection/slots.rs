//! Room for connections: no more than a limit are open, and who is evicted for whom.
//!
//! Whoever opens connections and does nothing of use could otherwise keep everybody else out. So a connection is a
//! *stranger* until a call on it was let through to Stytch; health checks, reflection and refused calls do not count.
//! For a newcomer the oldest stranger is evicted, whatever it chatters: one that waits for a response has a
//! little longer, for on a busy machine its call may only be waiting for its turn. A connection that has been of use is
//! evicted, the longest idle first, only when another becomes of use and together they would leave no room for
//! newcomers. Clients of gRPC connect again when they have something to say.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a connection may be idle, or a stranger, whatever happens.
const MIN_IDLE: Duration = Duration::from_millis(500);
/// How long a connection may be a stranger that waits for a response.
const MIN_WAITING: Duration = Duration::from_secs(3);
/// How often to check for a free slot.
const EVICTION_POLL: Duration = Duration::from_millis(20);
/// How long the client of a closing connection has to answer the GOAWAY, and to read what it was sent.
const GRACE: Duration = Duration::from_secs(2);
/// The same for a stranger that is evicted: others wait for its slot, or it has done harm.
const STRANGERS_GRACE: Duration = Duration::from_millis(20);
/// Streams of gRPC's own services on a connection: anybody may watch the health of this one.
const MAX_WATCHES: usize = 32;
/// The same where the peer is a listed proxy, on whose connections many callers meet.
const MAX_WATCHES_OF_A_PROXY: usize = 10 * MAX_WATCHES;
/// How many turns it takes at most until a request that has come is seen: preface, settings, headers.
const TURNS: u32 = 4;
/// One slot in so many is evicted at a time.
const EVICTED_AT_ONCE: usize = 64;
/// One slot in so many is left to newcomers.
const NEWCOMERS: usize = 8;

/// The slots of a port.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    limit: usize,
    started: Instant,
    /// In the order of arrival; those that have closed are swept out now and then.
    open: Mutex<Vec<Weak<Activity>>>,
    closing: CancellationToken,
}

/// What a connection does.
#[derive(Debug)]
pub(crate) struct Activity {
    slots: Arc<Slots>,
    /// When it was accepted and ready for calls, in milliseconds after the slots' start.
    accepted: AtomicU64,
    /// When the last call of use began or ended, likewise.
    last_active: AtomicU64,
    /// Requests of any kind that have no response yet.
    waiting: AtomicUsize,
    /// Calls that are admitted and open.
    calls: AtomicUsize,
    idle: Notify,
    /// Calls that were let through to Stytch, ever.
    useful: AtomicU64,
    /// Streams of gRPC's own services that are open.
    watches: AtomicUsize,
    /// Streams that either side has reset.
    resets: AtomicU64,
    /// The same, of the present turn of the connection.
    resets_of_turn: AtomicU64,
    evicted: AtomicBool,
    closing: CancellationToken,
}

/// A slot, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

/// A request on a connection that has no response yet, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Activity>);

/// A call on a connection, over when dropped.
#[derive(Debug)]
pub struct OpenCall(Arc<Activity>);

/// A stream of gRPC's own services, over when dropped.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Activity>);

impl Slots {
    /// `limit` of them. All connections are to close once `closing` is cancelled.
    pub(crate) fn new(limit: usize, closing: CancellationToken) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(limit));
        Arc::new(Self { free, limit, started: Instant::now(), open: Mutex::default(), closing })
    }

    /// Waits for a slot, and evicts a stranger for it where there is none.
    pub(crate) async fn take(self: &Arc<Self>) -> Slot {
        let mut lag = Duration::ZERO;
        loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                return self.occupy(permit);
            }
            // Where there are many slots many may wait for one, and an eviction takes a while.
            self.evict(self.limit.div_ceil(EVICTED_AT_ONCE), lag);
            let asked = Instant::now();
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(Ok(permit)) = timeout(EVICTION_POLL, free).await {
                return self.occupy(permit);
            }
            lag = asked.elapsed().saturating_sub(EVICTION_POLL);
        }
    }

    fn occupy(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Slot {
        let activity = Arc::new(Activity {
            slots: Arc::clone(self),
            accepted: AtomicU64::new(self.now()),
            last_active: AtomicU64::new(self.now()),
            waiting: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            idle: Notify::new(),
            useful: AtomicU64::new(0),
            watches: AtomicUsize::new(0),
            resets: AtomicU64::new(0),
            resets_of_turn: AtomicU64::new(0),
            evicted: AtomicBool::new(false),
            closing: self.closing.child_token(),
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.limit.saturating_mul(2) {
            open.retain(|it| it.strong_count() > 0);
        }
        open.push(Arc::downgrade(&activity));
        Slot { activity, _permit: permit }
    }

    /// How many connections of use there may be, which leaves some slots to newcomers.
    fn max_useful(&self) -> usize {
        self.limit.saturating_sub(self.limit.div_ceil(NEWCOMERS)).max(1)
    }

    /// Evicts up to `count` connections: of those of use as far as there are too many of them, and then the oldest
    /// strangers. Where tasks get their turn late, by `lag`, so does whoever reads a connection, and it takes some turns
    /// to see a request.
    fn evict(&self, count: usize, lag: Duration) {
        let open = self.open();
        let evicted = self.evict_of_use(&open, count);
        // Keys that are read once: they change meanwhile, and a sort may panic at that.
        let mut old: Vec<_> = open
            .iter()
            .filter(|it| !it.is_of_use() && it.age() >= it.min_age() + TURNS * lag)
            .collect();
        old.sort_by_cached_key(|it| it.accepted.load(Ordering::Relaxed));
        old.into_iter().take(count - evicted).for_each(|it| it.evict());
    }

    /// Evicts those that have been idle for the longest time, as far as there are too many connections of use and they
    /// are idle, and up to `count`. Returns how many.
    fn evict_of_use(&self, open: &[Arc<Activity>], count: usize) -> usize {
        let useful = open.iter().filter(|it| it.is_of_use());
        let surplus = useful.clone().count().saturating_sub(self.max_useful());
        if surplus == 0 {
            return 0;
        }
        let mut idle: Vec<_> = useful.filter(|it| it.is_idle()).collect();
        idle.sort_by_cached_key(|it| it.last_active.load(Ordering::Relaxed));
        idle.truncate(surplus.min(count));
        idle.iter().for_each(|it| it.evict());
        idle.len()
    }

    /// The connections that are not about to close.
    fn open(&self) -> Vec<Arc<Activity>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|it| it.strong_count() > 0);
        open.iter().filter_map(Weak::upgrade).filter(|it| !it.closing.is_cancelled()).collect()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Activity {
    fn since(&self, then: u64) -> Duration {
        Duration::from_millis(self.slots.now().saturating_sub(then))
    }

    fn age(&self) -> Duration {
        self.since(self.accepted.load(Ordering::Relaxed))
    }

    /// How long it is left alone as a stranger.
    fn min_age(&self) -> Duration {
        if self.waiting.load(Ordering::Acquire) > 0 { MIN_WAITING } else { MIN_IDLE }
    }

    /// Its client can make calls from now on: what it waited for until then, a handshake or its turn, does not count.
    pub(crate) fn is_ready(&self) {
        self.accepted.store(self.slots.now(), Ordering::Relaxed);
    }

    fn touch(&self) {
        self.last_active.store(self.slots.now(), Ordering::Relaxed);
    }

    /// Whether a call on it was ever let through to Stytch.
    fn is_of_use(&self) -> bool {
        self.useful.load(Ordering::Acquire) > 0
    }

    fn is_idle(&self) -> bool {
        let last_active = self.last_active.load(Ordering::Relaxed);
        self.calls.load(Ordering::Acquire) == 0 && self.since(last_active) >= MIN_IDLE
    }

    /// Counts a request until the value is dropped.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        Waiting(Arc::clone(self))
    }

    /// Counts a call until the value is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> OpenCall {
        self.calls.fetch_add(1, Ordering::AcqRel);
        OpenCall(Arc::clone(self))
    }

    /// Counts a stream of gRPC's own services until the value is dropped, unless there are too many.
    pub(crate) fn watch(self: &Arc<Self>, is_proxy: bool) -> Option<Watch> {
        let watch = Watch(Arc::clone(self));
        let before = self.watches.fetch_add(1, Ordering::AcqRel);
        let limit = if is_proxy { MAX_WATCHES_OF_A_PROXY } else { MAX_WATCHES };
        (before < limit).then_some(watch)
    }

    /// Counts streams that were reset, and closes the connection when there are more than `allowed`, and ten more
    /// for each call of use.
    pub(crate) fn reset(&self, streams: u64, allowed: u64) {
        self.resets_of_turn.fetch_add(streams, Ordering::Relaxed);
        let resets = self.resets.fetch_add(streams, Ordering::Relaxed) + streams;
        let useful = self.useful.load(Ordering::Relaxed);
        if resets > useful.saturating_mul(10).saturating_add(allowed)
            && !self.closing.is_cancelled()
        {
            tracing::warn!(resets, useful, "a connection is closed: too many streams were reset");
            self.evict();
        }
    }

    /// The connection is looked at: whatever was read before has been seen.
    pub(crate) fn begin_turn(&self) {
        self.resets_of_turn.store(0, Ordering::Relaxed);
    }

    pub(crate) fn resets_of_turn(&self) -> u64 {
        self.resets_of_turn.load(Ordering::Relaxed)
    }

    /// Asks the connection to end, a stranger at once.
    fn evict(&self) {
        tracing::debug!(of_use = self.is_of_use(), "a connection is evicted");
        self.evicted.store(true, Ordering::Release);
        self.close();
    }

    /// Asks the connection to end gracefully.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Cancelled when the connection is to end.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Waits until a connection that is to end may be cut, should its client not close it: its calls have ended, and
    /// the client has had time to learn so.
    pub(crate) async fn may_be_cut(&self) {
        loop {
            let is_of_use = self.is_of_use();
            let idle = self.idle.notified();
            if is_of_use && self.calls.load(Ordering::Acquire) > 0 {
                idle.await;
                continue;
            }
            let useful = self.useful.load(Ordering::Acquire);
            let is_evicted = self.evicted.load(Ordering::Acquire);
            sleep(if is_evicted && !is_of_use { STRANGERS_GRACE } else { GRACE }).await;
            // A call that was on its way when the client was told to go is served as any other.
            if self.useful.load(Ordering::Acquire) == useful {
                return;
            }
        }
    }
}

impl OpenCall {
    /// The call is let through to Stytch, so its connection is of use.
    pub fn count_as_use(&self) {
        let Self(activity) = self;
        activity.touch();
        if activity.useful.fetch_add(1, Ordering::AcqRel) == 0 {
            let slots = &activity.slots;
            slots.evict_of_use(&slots.open(), 1);
        }
    }

    /// How many there are on its connection, itself included.
    pub fn on_its_connection(&self) -> usize {
        self.0.calls.load(Ordering::Acquire)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let Self(activity) = self;
        if activity.is_of_use() {
            activity.touch();
        }
        if activity.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            activity.idle.notify_waiters();
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn slots(limit: usize) -> Arc<Slots> {
        Slots::new(limit, CancellationToken::new())
    }

    fn is_evicted(slot: &Slot) -> bool {
        slot.activity.closing.is_cancelled()
    }

    /// A connection on which a call was let through.
    async fn of_use(slots: &Arc<Slots>) -> Slot {
        let slot = slots.take().await;
        slot.activity.begin().count_as_use();
        slot
    }

    #[tokio::test(start_paused = true)]
    async fn for_a_newcomer_the_oldest_stranger_is_evicted_whatever_it_chatters() {
        let slots = slots(4);
        let useful = of_use(&slots).await;
        advance(MIN_IDLE).await;
        let chatty = slots.take().await;
        advance(MIN_IDLE).await;
        let silent = slots.take().await;
        advance(MIN_IDLE).await;
        let _young = slots.take().await;
        // Calls that were refused.
        drop((chatty.activity.watch(false), chatty.activity.begin(), chatty.activity.wait()));

        slots.evict(1, Duration::ZERO);

        assert!(is_evicted(&chatty) && !is_evicted(&silent) && !is_evicted(&useful));
        slots.evict(1, Duration::ZERO);
        assert!(is_evicted(&silent) && !is_evicted(&useful));
        slots.evict(1, Duration::ZERO);
        assert!(!is_evicted(&useful), "never for a stranger, however idle");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_waits_for_a_response_has_longer_and_not_for_ever() {
        let slots = slots(2);
        let dripping = slots.take().await;
        let request = dripping.activity.wait();
        let silent = slots.take().await;
        advance(MIN_IDLE).await;

        slots.evict(1, Duration::ZERO);

        assert!(is_evicted(&silent) && !is_evicted(&dripping));
        slots.evict(1, Duration::ZERO);
        assert!(!is_evicted(&dripping), "its time has not come");
        advance(MIN_WAITING - MIN_IDLE).await;
        slots.evict(1, Duration::ZERO);
        assert!(is_evicted(&dripping));
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_machine_that_lags_a_stranger_has_so_much_longer() {
        let slots = slots(1);
        let stranger = slots.take().await;
        let lag = Duration::from_millis(100);
        advance(MIN_IDLE + lag).await;

        slots.evict(1, lag);
        assert!(!is_evicted(&stranger));
        advance(TURNS * lag).await;
        slots.evict(1, lag);

        assert!(is_evicted(&stranger));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_use_is_evicted_for_another_of_use_the_longest_idle_first() {
        let slots = slots(8);
        let mut useful = Vec::new();
        for _ in 0..7 {
            useful.push(of_use(&slots).await);
            advance(MIN_IDLE).await;
        }
        let busy = useful[0].activity.begin();
        let newcomer = slots.take().await;
        assert!(!useful.iter().any(is_evicted), "a stranger evicts nobody of use");

        newcomer.activity.begin().count_as_use();

        let evicted: Vec<_> = useful.iter().map(is_evicted).collect();
        assert_eq!(evicted, [false, true, false, false, false, false, false]);
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_are_evicted_also_while_too_many_connections_are_busy() {
        let slots = slots(16);
        let mut busy = Vec::new();
        for _ in 0..15 {
            let slot = slots.take().await;
            let call = slot.activity.begin();
            call.count_as_use();
            busy.push((slot, call));
        }
        let stranger = slots.take().await;
        advance(MIN_IDLE).await;

        slots.evict(1, Duration::ZERO);

        assert!(is_evicted(&stranger) && !busy.iter().any(|(slot, _)| is_evicted(slot)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_evicted_while_there_is_room_or_before_its_time() {
        let slots = slots(2);
        let first = slots.take().await;
        advance(MIN_IDLE * 10).await;
        let second = slots.take().await;
        assert!(!is_evicted(&first));
        drop(first);

        let third = slots.take().await;

        slots.evict(1, Duration::ZERO);
        assert!(!is_evicted(&second) && !is_evicted(&third), "half a second is everybody's");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closing_connection_is_cut_when_its_calls_have_ended_and_its_client_had_time() {
        let slots = slots(2);
        let useful = of_use(&slots).await.activity;
        let stranger = slots.take().await.activity;
        let (call, dripping) = (useful.begin(), stranger.begin());
        useful.close();
        stranger.evict();
        let start = Instant::now();

        stranger.may_be_cut().await;
        assert_eq!(start.elapsed(), STRANGERS_GRACE, "its call is none of use");
        drop(dripping);
        let mut cut = Box::pin(useful.may_be_cut());
        assert!(timeout(GRACE * 10, &mut cut).await.is_err(), "a call is open");
        drop(call);
        let end = Instant::now();
        cut.await;
        assert_eq!(end.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn resets_are_weighed_against_calls_of_use() {
        let slots = slots(1);
        let slot = of_use(&slots).await;

        slot.activity.reset(60, 50);
        assert!(!is_evicted(&slot), "fifty, and ten for the call");
        slot.activity.reset(1, 50);

        assert!(is_evicted(&slot));
    }
}
