//! When an attempt is repeated, how often, and after how long.
//!
//! What changes something is repeated only while nothing of it has left; what only reads, whenever the
//! failure may pass. All calls of the process share one budget, so that a Stytch that is down is not
//! met by three times the load.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Effect, Error,
    error::{Unreadable, Upstream},
};

/// How often one call is repeated at most.
pub const RETRIES: usize = 2;

/// The longest wait before the first repetition; it doubles with each.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// One repetition costs as much as ten calls bring in, so that repetitions add a tenth to the load in
/// the long run.
const COST: u32 = 10;
/// What a budget holds at most: a hundred repetitions.
const FULL: u32 = 100 * COST;

/// The waits before the repetitions of one call, each anything up to its limit ("full jitter"), so that
/// calls that failed together do not come back together.
pub(super) fn delays() -> impl Iterator<Item = Duration> {
    (0..RETRIES).map(|round| (FIRST_DELAY * (1 << round)).mul_f64(fastrand::f64()))
}

/// Whether another attempt does no harm, and may succeed where this one failed.
pub(super) fn may_repeat(error: &Error, effect: Effect) -> bool {
    match (effect, error) {
        // No time is left, or no attempt is wanted.
        (_, Error::TimedOut { .. } | Error::CircuitOpen { .. } | Error::Foreign { .. }) => false,
        (Effect::Mutates, _) => error.upstream() == Upstream::NotSent,
        (Effect::Reads, Error::Rejected(_) | Error::Intercepted { .. }) => {
            error.retry_after().is_some()
        }
        (Effect::Reads, Error::Unreadable { why, .. }) => *why == Unreadable::CutShort,
        (Effect::Reads, Error::Unreachable(_) | Error::Disconnected(_) | Error::Failed { .. }) => {
            true
        }
    }
}

/// How many repetitions the process can afford now.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(FULL))
    }
}

impl Budget {
    /// Counts a call.
    pub(super) fn deposit(&self) {
        // A full budget, which is the ordinary case, is only read.
        if self.0.load(Ordering::Relaxed) < FULL {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The wait before the next attempt: `delay` after what Stytch asked for. None when there is none, when
    /// it would end after `until`, or when the budget is spent.
    pub(super) fn wait(
        &self,
        error: &Error,
        delay: Option<Duration>,
        until: Instant,
    ) -> Option<Duration> {
        let asked = error.retry_after().unwrap_or_default();
        let wait = asked + delay?;
        let fits = until.checked_duration_since(Instant::now()).is_some_and(|left| wait < left);
        (fits && self.withdraw()).then_some(wait)
    }

    fn withdraw(&self) -> bool {
        let less = |tokens: u32| tokens.checked_sub(COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_jittered_from_nothing_to_their_limit() {
        let mut longest = [Duration::ZERO; RETRIES];
        let mut shortest = [Duration::MAX; RETRIES];
        for _ in 0..1000 {
            for (round, delay) in delays().enumerate() {
                longest[round] = longest[round].max(delay);
                shortest[round] = shortest[round].min(delay);
            }
        }

        for (round, limit) in [50, 100].map(Duration::from_millis).into_iter().enumerate() {
            assert!(longest[round] <= limit && longest[round] > limit * 9 / 10, "{longest:?}");
            assert!(shortest[round] < limit / 10, "{shortest:?}");
        }
    }

    #[test]
    fn the_budget_pays_for_a_hundred_repetitions_and_then_for_one_in_ten_calls() {
        let budget = Budget::default();
        let withdrawn = (0..1000).filter(|_| budget.withdraw()).count();
        assert_eq!(withdrawn, 100);

        let withdrawn = (0..1000)
            .filter(|_| {
                budget.deposit();
                budget.withdraw()
            })
            .count();

        assert_eq!(withdrawn, 100);
        (0..5000).for_each(|_| budget.deposit());
        assert_eq!(budget.0.load(Ordering::Relaxed), FULL, "it does not overflow");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_would_end_after_the_deadline_is_not_begun_and_costs_nothing() {
        let budget = Budget::default();
        let error = Error::TimedOut { sent: false };
        let (delay, until) =
            (Duration::from_millis(20), Instant::now() + Duration::from_millis(20));

        assert_eq!(budget.wait(&error, Some(delay), until), None);

        assert_eq!(budget.0.load(Ordering::Relaxed), FULL);
        let sooner = delay / 2;
        assert_eq!(budget.wait(&error, Some(sooner), until), Some(sooner));
    }
}
