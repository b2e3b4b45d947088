//! Connection slots: how many connections a port keeps open, and which ones it evicts at the limit.
//!
//! A client could fill all slots with connections that never make a useful call. So a connection
//! starts *unproven* and becomes *proven* when one of its calls is forwarded to Stytch. Health
//! checks, reflection and refused calls leave it unproven, however many there are.
//!
//! When all slots are taken, a new connection evicts the oldest unproven one. An unproven
//! connection that waits for a response is given more time: on a busy machine its call may only be
//! queued. A proven connection is evicted, longest idle first, only when another becomes proven and
//! there would be too few slots left for new connections. gRPC clients reconnect when they make
//! their next call.

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

use crate::telemetry::{
    limit::Limit,
    metrics::{Counter, EvictionReason, Labelled, Metrics, RefusalReason},
};

/// How long a connection is safe from eviction: an unproven one from its start, a proven one from
/// its last activity.
const MIN_IDLE: Duration = Duration::from_millis(500);
/// How long an unproven connection that waits for a response is safe from eviction.
const MIN_WAITING: Duration = Duration::from_secs(3);
/// How often to check for a free slot.
const EVICTION_POLL: Duration = Duration::from_millis(20);
/// How long a client has to close its connection after the GOAWAY and to read pending responses.
const GRACE: Duration = Duration::from_secs(2);
/// The same for an evicted connection that is unproven: another one waits for its slot, or it has
/// done harm.
const UNPROVEN_GRACE: Duration = Duration::from_millis(20);
/// The most health watches and reflection streams that may be open on a connection.
const MAX_STREAMS: usize = 32;
/// The same for a connection from a listed proxy, which many callers share.
const MAX_STREAMS_OF_A_PROXY: usize = 10 * MAX_STREAMS;
/// The most polls of a connection that it takes to read a request: preface, settings, headers.
const POLLS_PER_REQUEST: u32 = 4;
/// The part of all slots that one eviction may free: one in this many.
const EVICTED_AT_ONCE: usize = 64;
/// The part of all slots that proven connections leave to new ones: one in this many.
const RESERVED_FOR_NEW: usize = 8;

/// The slots of a port.
#[derive(Debug)]
pub(crate) struct Slots {
    permits: Arc<Semaphore>,
    limit: usize,
    started: Instant,
    /// In order of arrival. Closed connections are removed from time to time.
    open: Mutex<Vec<Weak<Activity>>>,
    /// Proven connections, including those that are asked to close.
    proven: AtomicUsize,
    evicted: Labelled<EvictionReason, Counter>,
    refused: Labelled<RefusalReason, Counter>,
    closing: CancellationToken,
}

/// What happens on a connection.
#[derive(Debug)]
pub(crate) struct Activity {
    slots: Arc<Slots>,
    /// When the connection became ready for calls, in milliseconds since [`Slots::started`].
    accepted: AtomicU64,
    /// When a call on the proven connection last started or ended, likewise.
    last_active: AtomicU64,
    /// Requests without a response, of any kind.
    pending: AtomicUsize,
    /// Open calls, admitted or about to be.
    calls: AtomicUsize,
    /// Those of them that have ended and wait for their audit events.
    waiting: AtomicUsize,
    idle: Notify,
    /// Calls forwarded to Stytch so far. The connection is proven if there are any.
    forwarded: AtomicU64,
    /// Open health watches and reflection streams.
    streams: AtomicUsize,
    /// Streams reset so far, by either side.
    resets: AtomicU64,
    /// The same since the current poll of the connection began.
    resets_in_poll: AtomicU64,
    evicted: AtomicBool,
    /// The last audit event that its responses owe.
    owed: AtomicU64,
    closing: CancellationToken,
}

/// A slot, freed on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

/// A request without a response, counted until drop.
#[derive(Debug)]
pub(crate) struct PendingRequest(Arc<Activity>);

/// An open call, counted until drop.
#[derive(Debug)]
pub struct OpenCall(Arc<Activity>);

/// A call that waits for its audit event. It keeps its connection open, and does not count in the
/// connection's share of calls.
#[derive(Debug)]
pub(crate) struct WaitingCall(OpenCall);

/// An open health watch or reflection stream, counted until drop.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<Activity>);

impl Slots {
    /// Creates `limit` slots. Once `closing` is cancelled, all connections are asked to close.
    pub(crate) fn new(limit: usize, closing: CancellationToken) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(limit));
        Arc::new(Self {
            permits,
            limit,
            started: Instant::now(),
            open: Mutex::default(),
            proven: AtomicUsize::new(0),
            evicted: Labelled::default(),
            refused: Labelled::default(),
            closing,
        })
    }

    /// Shows the slots, and what becomes of connections, on the page of metrics.
    pub(crate) fn show(self: &Arc<Self>, metrics: &Metrics) {
        metrics.connections_open.watch(self, |it| it.open_count() as f64);
        metrics.connections_limit.watch(self, |it| it.limit as f64);
        for (reason, shown) in metrics.connections_evicted.all() {
            shown.watch(self, move |it| it.evicted.get(reason).get() as f64);
        }
        for (reason, shown) in metrics.connections_refused.all() {
            shown.watch(self, move |it| it.refused.get(reason).get() as f64);
        }
    }

    fn open_count(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
    }

    /// Counts a connection that is closed before it could make a call.
    pub(crate) fn count_refusal(&self, reason: RefusalReason) {
        self.refused.get(reason).inc();
    }

    /// Waits for a slot, and evicts unproven connections while there is none.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Slot {
        let mut delay = Duration::ZERO;
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return self.occupy(permit);
            }
            // With many slots, many connections may wait for one, and an eviction takes a while.
            self.evict(self.limit.div_ceil(EVICTED_AT_ONCE), delay);
            let start = Instant::now();
            let permit = Arc::clone(&self.permits).acquire_owned();
            if let Ok(Ok(permit)) = timeout(EVICTION_POLL, permit).await {
                return self.occupy(permit);
            }
            delay = start.elapsed().saturating_sub(EVICTION_POLL);
        }
    }

    fn occupy(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Slot {
        let activity = Arc::new(Activity {
            slots: Arc::clone(self),
            accepted: AtomicU64::new(self.now()),
            last_active: AtomicU64::new(self.now()),
            pending: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            idle: Notify::new(),
            forwarded: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            resets: AtomicU64::new(0),
            resets_in_poll: AtomicU64::new(0),
            evicted: AtomicBool::new(false),
            owed: AtomicU64::new(0),
            closing: self.closing.child_token(),
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.limit.saturating_mul(2) {
            open.retain(|it| it.strong_count() > 0);
        }
        open.push(Arc::downgrade(&activity));
        Slot { activity, _permit: permit }
    }

    /// The most proven connections to keep, so that some slots are left to new ones.
    fn max_proven(&self) -> usize {
        self.limit.saturating_sub(self.limit.div_ceil(RESERVED_FOR_NEW)).max(1)
    }

    /// Evicts up to `count` connections: surplus proven ones first, then the oldest unproven ones.
    ///
    /// `delay` is how late the runtime currently polls tasks. It delays the tasks of connections as
    /// well, and reading a request takes several polls.
    fn evict(&self, count: usize, delay: Duration) {
        let open = self.open();
        let evicted = self.evict_proven(&open, count);
        let mut old: Vec<_> = open
            .iter()
            .filter(|it| !it.is_proven() && it.age() >= it.min_age() + POLLS_PER_REQUEST * delay)
            .collect();
        // Each key is read once: it may change meanwhile, and a sort may panic at that.
        old.sort_by_cached_key(|it| it.accepted.load(Ordering::Relaxed));
        let old = old.into_iter().take(count - evicted);
        old.for_each(|it| it.evict(EvictionReason::Unproven));
    }

    /// Evicts up to `count` idle proven connections, longest idle first, while there are more than
    /// [`max_proven`](Self::max_proven). Returns how many it evicted.
    fn evict_proven(&self, open: &[Arc<Activity>], count: usize) -> usize {
        let proven = open.iter().filter(|it| it.is_proven());
        let surplus = proven.clone().count().saturating_sub(self.max_proven());
        if surplus == 0 {
            return 0;
        }
        let mut idle: Vec<_> = proven.filter(|it| it.is_idle()).collect();
        idle.sort_by_cached_key(|it| it.last_active.load(Ordering::Relaxed));
        idle.truncate(surplus.min(count));
        idle.iter().for_each(|it| it.evict(EvictionReason::Idle));
        idle.len()
    }

    /// Returns the connections that have not been asked to close.
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
    fn elapsed_since(&self, then: u64) -> Duration {
        Duration::from_millis(self.slots.now().saturating_sub(then))
    }

    fn age(&self) -> Duration {
        self.elapsed_since(self.accepted.load(Ordering::Relaxed))
    }

    /// Returns how old the connection, if unproven, must be to be evicted.
    fn min_age(&self) -> Duration {
        if self.pending.load(Ordering::Acquire) > 0 { MIN_WAITING } else { MIN_IDLE }
    }

    /// Restarts the connection's age: its client can make calls from now on. Time in the TLS
    /// handshake or in the accept queue does not count.
    pub(crate) fn mark_ready(&self) {
        self.accepted.store(self.slots.now(), Ordering::Relaxed);
    }

    fn mark_active(&self) {
        self.last_active.store(self.slots.now(), Ordering::Relaxed);
    }

    /// Whether a call on the connection was ever forwarded to Stytch.
    fn is_proven(&self) -> bool {
        self.forwarded.load(Ordering::Acquire) > 0
    }

    fn is_idle(&self) -> bool {
        let last_active = self.last_active.load(Ordering::Relaxed);
        self.calls.load(Ordering::Acquire) == 0 && self.elapsed_since(last_active) >= MIN_IDLE
    }

    /// Counts a request of any kind until its response.
    pub(crate) fn begin_request(self: &Arc<Self>) -> PendingRequest {
        self.pending.fetch_add(1, Ordering::AcqRel);
        PendingRequest(Arc::clone(self))
    }

    /// Counts a call until it ends.
    pub(crate) fn begin_call(self: &Arc<Self>) -> OpenCall {
        self.calls.fetch_add(1, Ordering::AcqRel);
        OpenCall(Arc::clone(self))
    }

    /// Counts a call that waits for its audit event.
    pub(crate) fn begin_wait(self: &Arc<Self>) -> WaitingCall {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        WaitingCall(self.begin_call())
    }

    /// Counts a health watch or reflection stream until it ends. Returns `None` if too many are
    /// open.
    pub(crate) fn begin_stream(self: &Arc<Self>, is_proxy: bool) -> Option<OpenStream> {
        let stream = OpenStream(Arc::clone(self));
        let before = self.streams.fetch_add(1, Ordering::AcqRel);
        let limit = if is_proxy { MAX_STREAMS_OF_A_PROXY } else { MAX_STREAMS };
        (before < limit).then_some(stream)
    }

    /// Counts stream resets. Closes the connection when there are more than `allowed` plus ten for
    /// each forwarded call.
    pub(crate) fn count_resets(&self, streams: u64, allowed: u64) {
        self.resets_in_poll.fetch_add(streams, Ordering::Relaxed);
        let resets = self.resets.fetch_add(streams, Ordering::Relaxed) + streams;
        let forwarded = self.forwarded.load(Ordering::Relaxed);
        if resets > forwarded.saturating_mul(10).saturating_add(allowed)
            && !self.closing.is_cancelled()
        {
            static WARNINGS: Limit = Limit::new();
            if let Some(suppressed) = WARNINGS.pass() {
                tracing::warn!(
                    resets,
                    forwarded,
                    suppressed,
                    "closing connection: too many stream resets"
                );
            }
            self.evict(EvictionReason::Resets);
        }
    }

    /// Makes the connection write the audit event with this number before it writes more.
    pub(crate) fn owe(&self, event: u64) {
        self.owed.fetch_max(event, Ordering::AcqRel);
    }

    pub(super) fn owed(&self) -> u64 {
        self.owed.load(Ordering::Acquire)
    }

    /// Marks the start of a poll of the connection.
    pub(crate) fn begin_poll(&self) {
        self.resets_in_poll.store(0, Ordering::Relaxed);
    }

    pub(crate) fn resets_in_poll(&self) -> u64 {
        self.resets_in_poll.load(Ordering::Relaxed)
    }

    /// Asks the connection to close, with little grace if it is unproven.
    fn evict(&self, reason: EvictionReason) {
        tracing::debug!(proven = self.is_proven(), "evicting connection");
        if !self.evicted.swap(true, Ordering::AcqRel) {
            self.slots.evicted.get(reason).inc();
        }
        self.close();
    }

    /// Whether the connection has to go for others, or for its resets.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Acquire)
    }

    /// Asks the connection to close gracefully.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Returns the token that is cancelled when the connection should close.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Waits until a closing connection may be dropped although its client has not closed it: its
    /// calls have ended, and the client has had time to notice.
    pub(crate) async fn grace_period(&self) {
        loop {
            let is_proven = self.is_proven();
            let idle = self.idle.notified();
            if is_proven && self.calls.load(Ordering::Acquire) > 0 {
                idle.await;
                continue;
            }
            let forwarded = self.forwarded.load(Ordering::Acquire);
            sleep(if self.is_evicted() && !is_proven { UNPROVEN_GRACE } else { GRACE }).await;
            // A call that was on its way when the GOAWAY was sent is served like any other.
            if self.forwarded.load(Ordering::Acquire) == forwarded {
                return;
            }
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if self.is_proven() {
            self.slots.proven.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl OpenCall {
    /// Records that the call, valid and allowed, is to be forwarded to Stytch, or answered with the
    /// outcome of one that was. The first such call makes its connection proven.
    pub fn mark_forwarded(&self) {
        let Self(activity) = self;
        activity.mark_active();
        if activity.forwarded.fetch_add(1, Ordering::AcqRel) == 0 {
            let slots = &activity.slots;
            // Looking at all connections takes time, and rarely finds one too many.
            if slots.proven.fetch_add(1, Ordering::AcqRel) >= slots.max_proven() {
                slots.evict_proven(&slots.open(), 1);
            }
        }
    }

    /// Returns the number of open calls on the connection, including this one, and apart from those
    /// that wait for their audit events.
    pub fn calls_on_connection(&self) -> usize {
        let Self(activity) = self;
        let waiting = activity.waiting.load(Ordering::Acquire);
        activity.calls.load(Ordering::Acquire).saturating_sub(waiting)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let Self(activity) = self;
        if activity.is_proven() {
            activity.mark_active();
        }
        if activity.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            activity.idle.notify_waiters();
        }
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        let Self(OpenCall(activity)) = self;
        activity.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
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

    /// A connection with a forwarded call.
    async fn proven_slot(slots: &Arc<Slots>) -> Slot {
        let slot = slots.acquire().await;
        slot.activity.begin_call().mark_forwarded();
        slot
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_unproven_connection_is_evicted_for_a_new_one_however_busy_it_is() {
        let slots = slots(4);
        let proven = proven_slot(&slots).await;
        advance(MIN_IDLE).await;
        let busy = slots.acquire().await;
        advance(MIN_IDLE).await;
        let silent = slots.acquire().await;
        advance(MIN_IDLE).await;
        let _young = slots.acquire().await;
        // Refused calls.
        drop((
            busy.activity.begin_stream(false),
            busy.activity.begin_call(),
            busy.activity.begin_request(),
        ));

        slots.evict(1, Duration::ZERO);

        assert!(is_evicted(&busy) && !is_evicted(&silent) && !is_evicted(&proven));
        slots.evict(1, Duration::ZERO);
        assert!(is_evicted(&silent) && !is_evicted(&proven));
        slots.evict(1, Duration::ZERO);
        assert!(!is_evicted(&proven), "never for a new connection, however idle");
    }

    #[tokio::test]
    async fn a_proven_connection_counts_until_it_is_closed() {
        let slots = slots(4);
        let proven = [proven_slot(&slots).await, proven_slot(&slots).await];
        let _unproven = slots.acquire().await;
        proven[0].activity.begin_call().mark_forwarded();
        assert_eq!(slots.proven.load(Ordering::Acquire), 2);

        drop(proven);

        assert_eq!(slots.proven.load(Ordering::Acquire), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unproven_connection_that_waits_for_a_response_is_evicted_later() {
        let slots = slots(2);
        let dripping = slots.acquire().await;
        let request = dripping.activity.begin_request();
        let silent = slots.acquire().await;
        advance(MIN_IDLE).await;

        slots.evict(1, Duration::ZERO);

        assert!(is_evicted(&silent) && !is_evicted(&dripping));
        slots.evict(1, Duration::ZERO);
        assert!(!is_evicted(&dripping), "it still has time");
        advance(MIN_WAITING - MIN_IDLE).await;
        slots.evict(1, Duration::ZERO);
        assert!(is_evicted(&dripping));
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unproven_connection_is_given_more_time_on_a_slow_machine() {
        let slots = slots(1);
        let unproven = slots.acquire().await;
        let delay = Duration::from_millis(100);
        advance(MIN_IDLE + delay).await;

        slots.evict(1, delay);
        assert!(!is_evicted(&unproven));
        advance(POLLS_PER_REQUEST * delay).await;
        slots.evict(1, delay);

        assert!(is_evicted(&unproven));
    }

    #[tokio::test(start_paused = true)]
    async fn a_proven_connection_is_evicted_only_for_another_proven_one_longest_idle_first() {
        let slots = slots(8);
        let mut proven = Vec::new();
        for _ in 0..7 {
            proven.push(proven_slot(&slots).await);
            advance(MIN_IDLE).await;
        }
        let busy = proven[0].activity.begin_call();
        let new = slots.acquire().await;
        assert!(!proven.iter().any(is_evicted), "a new connection evicts no proven one");

        new.activity.begin_call().mark_forwarded();

        let evicted: Vec<_> = proven.iter().map(is_evicted).collect();
        assert_eq!(evicted, [false, true, false, false, false, false, false]);
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn unproven_connections_are_evicted_while_too_many_proven_ones_are_busy() {
        let slots = slots(16);
        let mut busy = Vec::new();
        for _ in 0..15 {
            let slot = slots.acquire().await;
            let call = slot.activity.begin_call();
            call.mark_forwarded();
            busy.push((slot, call));
        }
        let unproven = slots.acquire().await;
        advance(MIN_IDLE).await;

        slots.evict(1, Duration::ZERO);

        assert!(is_evicted(&unproven) && !busy.iter().any(|(slot, _)| is_evicted(slot)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_evicted_while_there_is_room_or_before_its_time() {
        let slots = slots(2);
        let first = slots.acquire().await;
        advance(MIN_IDLE * 10).await;
        let second = slots.acquire().await;
        assert!(!is_evicted(&first));
        drop(first);

        let third = slots.acquire().await;

        slots.evict(1, Duration::ZERO);
        assert!(!is_evicted(&second) && !is_evicted(&third), "both are younger than half a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closing_connection_is_cut_when_its_calls_have_ended_and_its_client_had_time() {
        let slots = slots(2);
        let proven = proven_slot(&slots).await.activity;
        let unproven = slots.acquire().await.activity;
        let (call, dripping) = (proven.begin_call(), unproven.begin_call());
        proven.close();
        unproven.evict(EvictionReason::Unproven);
        let start = Instant::now();

        unproven.grace_period().await;
        assert_eq!(start.elapsed(), UNPROVEN_GRACE, "its call was not forwarded");
        drop(dripping);
        let mut grace_period = Box::pin(proven.grace_period());
        assert!(timeout(GRACE * 10, &mut grace_period).await.is_err(), "a call is open");
        drop(call);
        let end = Instant::now();
        grace_period.await;
        assert_eq!(end.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn more_resets_are_allowed_for_each_forwarded_call() {
        let slots = slots(1);
        let slot = proven_slot(&slots).await;

        slot.activity.count_resets(60, 50);
        assert!(!is_evicted(&slot), "fifty, and ten for the forwarded call");
        slot.activity.count_resets(1, 50);

        assert!(is_evicted(&slot));
    }
}
