//! The circuit breaker: stops sending to a Stytch that does not answer.
//!
//! It opens after [`CONSECUTIVE`] transport failures in a row, or when half of the last 64 attempts
//! failed. Open, every attempt is refused at once; after [`OPEN_FOR`] one attempt at a time goes through as
//! a probe, and the first that is answered closes it. A refusal by Stytch is an answer.
//!
//! The last 64 outcomes are the bits of one word, newest lowest. While nothing fails the word is zero, and
//! is only read.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::Error;
use crate::metrics::Metrics;

/// So many failures in a row open it.
const CONSECUTIVE: u32 = 10;
/// So many failures among the last 64 attempts open it.
const OF_LAST_64: u32 = 32;
/// How long it refuses before the next probe.
pub const OPEN_FOR: Duration = Duration::from_secs(2);

/// [`Breaker::open_until`] of a closed one.
const CLOSED: u64 = 0;

#[derive(Debug)]
pub(super) struct Breaker {
    started: Instant,
    /// A bit for each of the last attempts, set where it failed.
    failures: AtomicU64,
    /// Milliseconds after `started` when the next probe is due, or [`CLOSED`].
    open_until: AtomicU64,
    /// Whether a probe is under way.
    probing: AtomicBool,
    metrics: Metrics,
}

/// Leave for one attempt, whose outcome is to be told to [`Attempt::end`]. One that is dropped says
/// nothing about Stytch.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            started: Instant::now(),
            failures: AtomicU64::new(0),
            open_until: AtomicU64::new(CLOSED),
            probing: AtomicBool::new(false),
            metrics,
        }
    }

    /// Leave for an attempt, or how long to wait before asking again.
    pub(super) fn admit(&self) -> Result<Attempt<'_>, Duration> {
        if self.open_until.load(Ordering::Acquire) == CLOSED {
            return Ok(Attempt { breaker: self, is_probe: false });
        }
        let refused = |wait| {
            self.metrics.breaker_refusals.inc();
            Err(wait)
        };
        if let Some(wait) = self.wait() {
            return refused(wait);
        }
        if self.probing.swap(true, Ordering::AcqRel) {
            return refused(OPEN_FOR);
        }
        let probe = Attempt { breaker: self, is_probe: true };
        // The probe before this one may have failed since.
        match self.wait() {
            Some(wait) => refused(wait),
            None => Ok(probe),
        }
    }

    /// How long until the next probe is due.
    fn wait(&self) -> Option<Duration> {
        let left = self.open_until.load(Ordering::Acquire).saturating_sub(self.now());
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Milliseconds since the start, and at least 1, which [`CLOSED`] is not.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn open(&self) -> u64 {
        self.now() + u64::try_from(OPEN_FOR.as_millis()).unwrap_or(u64::MAX)
    }

    fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            let _ = self.shift(0);
        }
    }

    fn failed(&self) {
        let failures = self.shift(1);
        let too_many =
            failures.trailing_ones() >= CONSECUTIVE || failures.count_ones() >= OF_LAST_64;
        let opens = too_many
            && self
                .open_until
                .compare_exchange(CLOSED, self.open(), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if opens {
            self.metrics.breaker_openings.inc();
            self.metrics.breaker_open.set(1);
            tracing::warn!(
                failures_in_a_row = failures.trailing_ones(),
                failures_of_last_64 = failures.count_ones(),
                "circuit breaker opened: Stytch does not answer"
            );
        }
    }

    /// Adds an outcome, and returns the last 64.
    fn shift(&self, bit: u64) -> u64 {
        let shift = |failures: u64| failures << 1 | bit;
        let before = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| Some(shift(failures)));
        before.map_or(0, shift)
    }

    fn probed(&self, failed: bool) {
        if failed {
            self.open_until.store(self.open(), Ordering::Release);
            tracing::warn!("circuit breaker stays open: the probe failed");
        } else {
            self.failures.store(0, Ordering::Relaxed);
            self.open_until.store(CLOSED, Ordering::Release);
            self.metrics.breaker_open.set(0);
            tracing::info!("circuit breaker closed: Stytch answers");
        }
    }
}

impl Attempt<'_> {
    /// Tells the outcome.
    pub(super) fn end<T>(self, result: &Result<T, Error>) {
        let failed = result.as_ref().is_err_and(is_failure);
        match self.is_probe {
            true => self.breaker.probed(failed),
            // One that began before it opened has no say.
            false if self.breaker.open_until.load(Ordering::Relaxed) != CLOSED => {}
            false if failed => self.breaker.failed(),
            false => self.breaker.succeeded(),
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.probing.store(false, Ordering::Release);
        }
    }
}

/// Whether Stytch, or the way to it, failed. A 4xx is an answer, whoever it is from.
fn is_failure(error: &Error) -> bool {
    match error {
        Error::Unreachable(_) | Error::Disconnected(_) | Error::TimedOut { .. } => true,
        Error::Failed { http_status, .. } => http_status.is_server_error(),
        Error::CircuitOpen { .. }
        | Error::Rejected(_)
        | Error::Intercepted { .. }
        | Error::Foreign { .. }
        | Error::Unreadable { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::time::advance;

    use super::*;

    fn failure() -> Result<(), Error> {
        Err(Error::TimedOut { sent: true })
    }

    fn refusal() -> Result<(), Error> {
        Err(Error::Foreign { http_status: StatusCode::NOT_FOUND })
    }

    fn breaker() -> Breaker {
        Breaker::new(Metrics::default())
    }

    #[track_caller]
    fn ends(breaker: &Breaker, result: &Result<(), Error>, times: u32) {
        for _ in 0..times {
            breaker.admit().expect("leave for an attempt").end(result);
        }
    }

    fn opened() -> Breaker {
        let breaker = breaker();
        ends(&breaker, &failure(), CONSECUTIVE);
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_ten_failures_in_a_row_and_an_answer_starts_the_count_anew() {
        for answer in [Ok(()), refusal()] {
            let breaker = breaker();
            ends(&breaker, &failure(), CONSECUTIVE - 1);
            ends(&breaker, &answer, 1);
            ends(&breaker, &failure(), CONSECUTIVE - 1);
            assert!(breaker.admit().is_ok());

            ends(&breaker, &failure(), 1);

            assert_eq!(breaker.admit().expect_err("it is open"), OPEN_FOR);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_when_half_of_the_last_64_attempts_failed() {
        let breaker = breaker();
        for _ in 0..OF_LAST_64 - 1 {
            ends(&breaker, &failure(), 1);
            ends(&breaker, &Ok(()), 1);
        }
        ends(&breaker, &Ok(()), 2);
        assert_eq!(breaker.failures.load(Ordering::Relaxed).count_ones(), OF_LAST_64 - 1);

        ends(&breaker, &failure(), 1);
        assert!(breaker.admit().is_ok(), "the oldest failure has gone");
        ends(&breaker, &failure(), 1);

        assert!(breaker.admit().is_err(), "half of 64");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_by_stytch_never_open_it() {
        let breaker = breaker();

        ends(&breaker, &refusal(), 1000);

        assert!(breaker.admit().is_ok());
        assert_eq!(breaker.failures.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_lets_one_probe_through_and_the_first_answer_closes_it() {
        for answer in [Ok(()), refusal()] {
            let breaker = opened();
            advance(OPEN_FOR - Duration::from_millis(1)).await;
            assert_eq!(breaker.admit().expect_err("too early"), Duration::from_millis(1));
            advance(Duration::from_millis(1)).await;

            let probe = breaker.admit().expect("a probe");
            assert_eq!(breaker.admit().expect_err("one probe at a time"), OPEN_FOR);
            probe.end(&answer);

            ends(&breaker, &Ok(()), 100);
            ends(&breaker, &failure(), CONSECUTIVE - 1);
            assert!(breaker.admit().is_ok(), "it counts from nothing");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_keeps_it_open_as_long_again() {
        let breaker = opened();
        advance(OPEN_FOR).await;

        breaker.admit().expect("a probe").end(&failure());

        assert_eq!(breaker.admit().expect_err("it is open"), OPEN_FOR);
        advance(OPEN_FOR).await;
        breaker.admit().expect("the next probe").end(&Ok(()));
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_makes_room_for_the_next() {
        let breaker = opened();
        advance(OPEN_FOR).await;

        drop(breaker.admit().expect("a probe"));

        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_opened_has_no_say() {
        let breaker = breaker();
        let early = breaker.admit().expect("leave for an attempt");
        ends(&breaker, &failure(), CONSECUTIVE);

        early.end(&Ok(()));

        assert!(breaker.admit().is_err());
    }
}
