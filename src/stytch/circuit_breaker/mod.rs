//! The circuit breaker: stops sending requests while Stytch does not respond.
//!
//! The breaker opens after [`CONSECUTIVE_FAILURES`](state::CONSECUTIVE_FAILURES) transport failures
//! in a row, or when half of the last 64 attempts failed. While it is open, it refuses every
//! attempt at once. After [`OPEN_FOR`] it permits one attempt at a time as a probe, and the first
//! probe that gets a response closes it. A refusal by Stytch is a response.

mod state;

use std::time::Duration;

use tokio::time::Instant;

use self::state::{BreakerState, Failed, OPEN_FOR_MS, Ticket};
use super::error::{Error, was_not_processed};
use crate::telemetry::metrics::Metrics;

/// How long the open breaker refuses all attempts before it permits the next probe.
pub const OPEN_FOR: Duration = Duration::from_millis(OPEN_FOR_MS);

/// The circuit breaker, with its clock and its metrics.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    started: Instant,
    state: BreakerState,
    metrics: Metrics,
}

/// The permission for one attempt, whose outcome goes to [`Permit::record`]. Dropped without an
/// outcome, it has no effect on the breaker.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    ticket: Option<Ticket>,
}

impl CircuitBreaker {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { started: Instant::now(), state: BreakerState::default(), metrics }
    }

    /// Permits an attempt, or returns how long to wait before asking again.
    pub(super) fn admit(&self) -> Result<Permit<'_>, Duration> {
        match self.state.admit(self.now()) {
            Ok(ticket) => Ok(Permit { breaker: self, ticket: Some(ticket) }),
            Err(wait) => {
                self.metrics.upstream_breaker_refusals.inc();
                Err(Duration::from_millis(wait))
            }
        }
    }

    /// Returns the milliseconds since the start, at least 1.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn record_response(&self, ticket: Ticket) {
        if self.state.record_response(ticket) {
            self.metrics.upstream_breaker_open.set(0);
            tracing::info!("circuit breaker closed: Stytch responds again");
        }
    }

    fn record_failure(&self, ticket: Ticket) {
        match self.state.record_failure(ticket, self.now()) {
            Failed::Counted => {}
            Failed::Opened(failures) => {
                self.metrics.upstream_breaker_openings.inc();
                self.metrics.upstream_breaker_open.set(1);
                tracing::warn!(
                    failures_in_a_row = failures.trailing_ones(),
                    failures_of_last_64 = failures.count_ones(),
                    "circuit breaker opened: Stytch does not respond"
                );
            }
            Failed::StaysOpen => {
                tracing::warn!("circuit breaker stays open: the probe failed");
            }
        }
    }
}

impl Permit<'_> {
    /// Records the outcome of the attempt.
    pub(super) fn record<T>(mut self, result: &Result<T, Error>) {
        let verdict = match result {
            Ok(_) => Verdict::Response,
            Err(error) => Verdict::of(error),
        };
        match (verdict, self.ticket) {
            // The drop discards the ticket.
            (Verdict::Inconclusive, _) | (_, None) => return,
            (Verdict::Response, Some(ticket)) => self.breaker.record_response(ticket),
            (Verdict::Failure, Some(ticket)) => self.breaker.record_failure(ticket),
        }
        self.ticket = None;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.breaker.state.discard(ticket);
        }
    }
}

/// What an attempt says about Stytch's health.
enum Verdict {
    /// Stytch responds. A 4xx is a response, whoever sent it.
    Response,
    /// Stytch, or the network path to it, failed.
    Failure,
    /// Stytch is there, but did not process the request.
    Inconclusive,
}

impl Verdict {
    fn of(error: &Error) -> Self {
        match error {
            Error::Unreachable(error) | Error::Disconnected(error) if was_not_processed(error) => {
                Self::Inconclusive
            }
            Error::Unreachable(_) | Error::Disconnected(_) | Error::TimedOut { .. } => {
                Self::Failure
            }
            Error::Failed { http_status, .. } if http_status.is_server_error() => Self::Failure,
            Error::Failed { .. }
            | Error::CircuitOpen { .. }
            | Error::Rejected(_)
            | Error::Intercepted { .. }
            | Error::Foreign { .. }
            | Error::Unreadable { .. } => Self::Response,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::time::advance;

    use super::{
        state::{CONSECUTIVE_FAILURES, FAILURES_OF_LAST_64},
        *,
    };

    fn failure() -> Result<(), Error> {
        Err(Error::TimedOut { sent: true })
    }

    fn refusal() -> Result<(), Error> {
        Err(Error::Foreign { http_status: StatusCode::NOT_FOUND })
    }

    fn breaker() -> CircuitBreaker {
        CircuitBreaker::new(Metrics::default())
    }

    #[track_caller]
    fn record(breaker: &CircuitBreaker, result: &Result<(), Error>, times: u32) {
        for _ in 0..times {
            breaker.admit().expect("a permit").record(result);
        }
    }

    fn opened() -> CircuitBreaker {
        let breaker = breaker();
        record(&breaker, &failure(), CONSECUTIVE_FAILURES);
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_ten_failures_in_a_row_and_a_response_resets_the_count() {
        for response in [Ok(()), refusal()] {
            let breaker = breaker();
            record(&breaker, &failure(), CONSECUTIVE_FAILURES - 1);
            record(&breaker, &response, 1);
            record(&breaker, &failure(), CONSECUTIVE_FAILURES - 1);
            assert!(breaker.admit().is_ok());

            record(&breaker, &failure(), 1);

            assert_eq!(breaker.admit().expect_err("open"), OPEN_FOR);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_when_half_of_the_last_64_attempts_failed() {
        let breaker = breaker();
        for _ in 0..FAILURES_OF_LAST_64 - 1 {
            record(&breaker, &failure(), 1);
            record(&breaker, &Ok(()), 1);
        }
        record(&breaker, &Ok(()), 2);
        assert_eq!(breaker.state.failures().count_ones(), FAILURES_OF_LAST_64 - 1);

        record(&breaker, &failure(), 1);
        assert!(breaker.admit().is_ok(), "the oldest failure no longer counts");
        record(&breaker, &failure(), 1);

        assert!(breaker.admit().is_err(), "half of 64");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_by_stytch_never_open_it() {
        let breaker = breaker();

        record(&breaker, &refusal(), 1000);

        assert!(breaker.admit().is_ok());
        assert_eq!(breaker.state.failures(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_admits_one_probe_and_the_first_response_closes_it() {
        for response in [Ok(()), refusal()] {
            let breaker = opened();
            advance(OPEN_FOR - Duration::from_millis(1)).await;
            assert_eq!(breaker.admit().expect_err("too early"), Duration::from_millis(1));
            advance(Duration::from_millis(1)).await;

            let probe = breaker.admit().expect("a probe");
            assert_eq!(breaker.admit().expect_err("one probe at a time"), OPEN_FOR);
            probe.record(&response);

            record(&breaker, &Ok(()), 100);
            record(&breaker, &failure(), CONSECUTIVE_FAILURES - 1);
            assert!(breaker.admit().is_ok(), "the count starts at zero");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_fails_keeps_it_open_as_long_again() {
        let breaker = opened();
        advance(OPEN_FOR).await;

        breaker.admit().expect("a probe").record(&failure());

        assert_eq!(breaker.admit().expect_err("open"), OPEN_FOR);
        advance(OPEN_FOR).await;
        breaker.admit().expect("the next probe").record(&Ok(()));
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
        let early = breaker.admit().expect("a permit");
        record(&breaker, &failure(), CONSECUTIVE_FAILURES);

        early.record(&Ok(()));

        assert!(breaker.admit().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_from_before_the_breaker_opened_never_counts() {
        let breaker = breaker();
        let early: Vec<_> =
            (0..2 * CONSECUTIVE_FAILURES).map(|_| breaker.admit().unwrap()).collect();
        record(&breaker, &failure(), CONSECUTIVE_FAILURES);
        advance(OPEN_FOR).await;
        breaker.admit().expect("a probe").record(&Ok(()));

        early.into_iter().for_each(|attempt| attempt.record(&failure()));

        assert!(breaker.admit().is_ok(), "Stytch responds");
        assert_eq!(breaker.state.failures(), 0);
    }
}
