//! The circuit breaker: stops sending to a Stytch that does not answer.
//!
//! It opens after [`CONSECUTIVE`](super::circuit::CONSECUTIVE) transport failures in a row, or when half of the
//! last 64 attempts failed. Open, every attempt is refused at once; after [`OPEN_FOR`] one attempt at a time goes
//! through as a probe, and the first that is answered closes it. A refusal by Stytch is an answer.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Error,
    circuit::{Circuit, Failed, Leave, OPEN_FOR_MS},
    error::was_not_processed,
};
use crate::telemetry::metrics::Metrics;

/// How long it refuses before the next probe.
pub const OPEN_FOR: Duration = Duration::from_millis(OPEN_FOR_MS);

#[derive(Debug)]
pub(super) struct Breaker {
    started: Instant,
    circuit: Circuit,
    metrics: Metrics,
}

/// Leave for one attempt, whose outcome is to be told to [`Attempt::end`]. One that is dropped says
/// nothing about Stytch.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    leave: Option<Leave>,
}

impl Breaker {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { started: Instant::now(), circuit: Circuit::default(), metrics }
    }

    /// Leave for an attempt, or how long to wait before asking again.
    pub(super) fn admit(&self) -> Result<Attempt<'_>, Duration> {
        match self.circuit.admit(self.now()) {
            Ok(leave) => Ok(Attempt { breaker: self, leave: Some(leave) }),
            Err(wait) => {
                self.metrics.breaker_refusals.inc();
                Err(Duration::from_millis(wait))
            }
        }
    }

    /// Milliseconds since the start, and at least 1.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn answered(&self, leave: Leave) {
        if self.circuit.answered(leave) {
            self.metrics.breaker_open.set(0);
            tracing::info!("circuit breaker closed: Stytch answers");
        }
    }

    fn failed(&self, leave: Leave) {
        match self.circuit.failed(leave, self.now()) {
            Failed::Counted => {}
            Failed::Opened(failures) => {
                self.metrics.breaker_openings.inc();
                self.metrics.breaker_open.set(1);
                tracing::warn!(
                    failures_in_a_row = failures.trailing_ones(),
                    failures_of_last_64 = failures.count_ones(),
                    "circuit breaker opened: Stytch does not answer"
                );
            }
            Failed::StaysOpen => {
                tracing::warn!("circuit breaker stays open: the probe failed");
            }
        }
    }
}

impl Attempt<'_> {
    /// Tells the outcome.
    pub(super) fn end<T>(mut self, result: &Result<T, Error>) {
        let outcome = match result {
            Ok(_) => Outcome::Answer,
            Err(error) => Outcome::of(error),
        };
        match (outcome, self.leave) {
            // Dropped, it is withdrawn.
            (Outcome::Nothing, _) | (_, None) => return,
            (Outcome::Answer, Some(leave)) => self.breaker.answered(leave),
            (Outcome::Failure, Some(leave)) => self.breaker.failed(leave),
        }
        self.leave = None;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(leave) = self.leave {
            self.breaker.circuit.withdrawn(leave);
        }
    }
}

/// What an attempt says about Stytch.
enum Outcome {
    /// It answers. A 4xx is an answer, whoever it is from.
    Answer,
    /// It, or the way to it, failed.
    Failure,
    /// Neither: it is there, and has not looked at the request.
    Nothing,
}

impl Outcome {
    fn of(error: &Error) -> Self {
        match error {
            Error::Unreachable(error) | Error::Disconnected(error) if was_not_processed(error) => {
                Self::Nothing
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
            | Error::Unreadable { .. } => Self::Answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tokio::time::advance;

    use super::*;
    use crate::stytch::circuit::{CONSECUTIVE, OF_LAST_64};

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
        assert_eq!(breaker.circuit.failures().count_ones(), OF_LAST_64 - 1);

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
        assert_eq!(breaker.circuit.failures(), 0);
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

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_opened_has_no_say_after_it_has_closed_either() {
        let breaker = breaker();
        let early: Vec<_> = (0..2 * CONSECUTIVE).map(|_| breaker.admit().unwrap()).collect();
        ends(&breaker, &failure(), CONSECUTIVE);
        advance(OPEN_FOR).await;
        breaker.admit().expect("a probe").end(&Ok(()));

        early.into_iter().for_each(|attempt| attempt.end(&failure()));

        assert!(breaker.admit().is_ok(), "Stytch answers");
        assert_eq!(breaker.circuit.failures(), 0);
    }
}
