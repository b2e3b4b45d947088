//! Which failures to retry, how often, and after which delay.
//!
//! A call that changes something is retried only if nothing was sent; a read is retried after any
//! failure that may be transient. All calls of the process share one retry budget, so that an
//! outage of Stytch does not triple the load on it.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    endpoint::Effect,
    error::{Error, Unreadable, Upstream},
};

/// The maximum number of retries of one call.
pub const RETRIES: usize = 2;

/// The upper limit of the delay before the first retry. It doubles with each further retry.
const BASE_DELAY: Duration = Duration::from_millis(50);

/// What a retry costs, in tokens. Each call deposits one token, so in the long run retries add at
/// most a tenth to the load.
const COST: u32 = 10;
/// The capacity of the budget: a hundred retries.
const CAPACITY: u32 = 100 * COST;

/// Returns the delays before the retries of one call: exponential backoff with full jitter, so that
/// calls that failed together do not retry together.
pub(super) fn backoff() -> impl Iterator<Item = Duration> {
    (0..RETRIES).map(|round| (BASE_DELAY * (1 << round)).mul_f64(fastrand::f64()))
}

/// Returns whether a retry is safe and may succeed.
pub(super) fn is_retryable(error: &Error, effect: Effect) -> bool {
    match (effect, error) {
        // The time is up, the breaker forbids another attempt, or it was not Stytch that responded.
        (_, Error::TimedOut { .. } | Error::CircuitOpen { .. } | Error::Foreign { .. }) => false,
        (Effect::Mutates, _) => error.upstream() == Upstream::NotSent,
        (Effect::Reads, Error::Rejected(_) | Error::Intercepted { .. }) => {
            error.retry_after().is_some()
        }
        (Effect::Reads, Error::Unreadable { why, .. }) => *why == Unreadable::Truncated,
        (Effect::Reads, Error::Unreachable(_) | Error::Disconnected(_) | Error::Failed { .. }) => {
            true
        }
    }
}

/// The retry budget of the process, in tokens.
#[derive(Debug)]
pub(super) struct RetryBudget(AtomicU32);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(CAPACITY))
    }
}

impl RetryBudget {
    /// Adds the token of a call.
    pub(super) fn deposit(&self) {
        // A full budget, the usual case, is only read.
        if self.0.load(Ordering::Relaxed) < CAPACITY {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how long to wait before the next attempt: Stytch's `Retry-After`, if any, plus
    /// `delay`. `None` if retries are used up, the wait would end after `until`, or the budget is
    /// empty.
    pub(super) fn wait(
        &self,
        error: &Error,
        delay: Option<Duration>,
        until: Instant,
    ) -> Option<Duration> {
        let wait = error.retry_after().unwrap_or_default() + delay?;
        let fits = until.checked_duration_since(Instant::now()).is_some_and(|left| wait < left);
        (fits && self.withdraw()).then_some(wait)
    }

    /// Returns how many retries the budget permits now.
    pub(super) fn left(&self) -> u32 {
        self.0.load(Ordering::Relaxed) / COST
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
            for (round, delay) in backoff().enumerate() {
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
    fn the_budget_allows_a_hundred_retries_and_then_one_per_ten_calls() {
        let budget = RetryBudget::default();
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
        assert_eq!(budget.0.load(Ordering::Relaxed), CAPACITY, "it does not overflow");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_would_end_after_the_deadline_is_not_begun_and_costs_nothing() {
        let budget = RetryBudget::default();
        let error = Error::TimedOut { sent: false };
        let (delay, until) =
            (Duration::from_millis(20), Instant::now() + Duration::from_millis(20));

        assert_eq!(budget.wait(&error, Some(delay), until), None);

        assert_eq!(budget.0.load(Ordering::Relaxed), CAPACITY);
        let sooner = delay / 2;
        assert_eq!(budget.wait(&error, Some(sooner), until), Some(sooner));
    }
}
