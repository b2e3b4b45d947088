//! The lock-free state of the circuit breaker: which attempts it permits, and how their outcomes
//! change it.
//!
//! A single atomic word says whether the breaker is closed, or else until when it is open and
//! whether a probe is in flight. Each transition is one compare-and-swap of that word, so no
//! transition acts on stale state. The word also holds the number of the current period (the time
//! from one closing to the next), so that an outcome counts in the period in which its attempt
//! began, or not at all. The state has no clock: the caller passes the time in milliseconds,
//! counted from 1.
//!
//! `models/tests/breaker.rs` checks this file under every interleaving.

use crate::atomic::{AtomicU64, Ordering};

/// The number of consecutive failures that opens the breaker.
pub(crate) const CONSECUTIVE_FAILURES: u32 = 10;
/// The number of failures among the last 64 attempts that opens the breaker.
pub(crate) const FAILURES_OF_LAST_64: u32 = 32;
/// How long the open breaker refuses all attempts before it permits the next probe, in
/// milliseconds.
pub(crate) const OPEN_FOR_MS: u64 = 2000;

/// The bits of the word that hold the number of the period.
const PERIOD: u64 = (1 << 20) - 1;
/// The bit of the word that says that a probe is in flight.
const PROBING: u64 = 1 << 20;
/// How far the time until which the breaker is open is shifted within the word.
const UNTIL: u32 = 21;

/// The state of a circuit breaker.
#[derive(Debug, Default)]
pub(crate) struct BreakerState {
    /// The time until which the breaker is open, zero when it is closed; whether a probe is in
    /// flight; the number of the period.
    word: AtomicU64,
    /// The outcomes of the last 64 attempts of a period: a set bit is a failure, the lowest bit the
    /// newest outcome. While nothing fails, it is zero and only read. Odd and even periods take
    /// turns, so that a late outcome lands where nobody looks.
    failures: [AtomicU64; 2],
}

/// The permission for one attempt: the word under which it was granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

/// The effect of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The breaker has not changed. The failure was counted, unless it came too late.
    Counted,
    /// The breaker has opened, with these outcomes of the last 64 attempts.
    Opened(u64),
    /// The probe failed, so the breaker stays open.
    StaysOpen,
}

impl Ticket {
    /// Returns whether the attempt is a probe of an open breaker.
    pub(crate) fn is_probe(self) -> bool {
        self.0 & PROBING != 0
    }

    fn period(self) -> u64 {
        self.0 & PERIOD
    }
}

impl BreakerState {
    /// Permits an attempt, or returns how many milliseconds to wait before asking again.
    pub(crate) fn admit(&self, now: u64) -> Result<Ticket, u64> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let until = word >> UNTIL;
            if until == 0 {
                return Ok(Ticket(word));
            }
            if until > now {
                return Err(until - now);
            }
            if word & PROBING != 0 {
                return Err(OPEN_FOR_MS);
            }
            match self.change(word, word | PROBING) {
                Ok(()) => return Ok(Ticket(word | PROBING)),
                Err(current) => word = current,
            }
        }
    }

    /// Records that Stytch responded. Returns whether that has closed the breaker.
    pub(crate) fn record_response(&self, ticket: Ticket) -> bool {
        if ticket.is_probe() {
            let next = (ticket.period() + 1) & PERIOD;
            self.failures_of(next).store(0, Ordering::Relaxed);
            return self.change(ticket.0, next).is_ok();
        }
        if self.is_current(ticket) && self.failures_of(ticket.period()).load(Ordering::Relaxed) != 0
        {
            self.shift(ticket.period(), 0);
        }
        false
    }

    /// Records a failure.
    pub(crate) fn record_failure(&self, ticket: Ticket, now: u64) -> Failed {
        let open = (now + OPEN_FOR_MS) << UNTIL | ticket.period();
        if ticket.is_probe() {
            let _ = self.change(ticket.0, open);
            return Failed::StaysOpen;
        }
        if !self.is_current(ticket) {
            return Failed::Counted;
        }
        let failures = self.shift(ticket.period(), 1);
        let too_many = failures.trailing_ones() >= CONSECUTIVE_FAILURES
            || failures.count_ones() >= FAILURES_OF_LAST_64;
        match too_many && self.change(ticket.0, open).is_ok() {
            true => Failed::Opened(failures),
            false => Failed::Counted,
        }
    }

    /// Discards an attempt without an outcome. If it was a probe, the next one is permitted.
    pub(crate) fn discard(&self, ticket: Ticket) {
        if ticket.is_probe() {
            let _ = self.change(ticket.0, ticket.0 & !PROBING);
        }
    }

    /// Returns the last 64 outcomes of the current period.
    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        self.failures_of(self.word.load(Ordering::Acquire)).load(Ordering::Relaxed)
    }

    /// Returns whether the closed period in which the ticket was granted still lasts.
    fn is_current(&self, ticket: Ticket) -> bool {
        self.word.load(Ordering::Acquire) == ticket.0
    }

    fn failures_of(&self, period: u64) -> &AtomicU64 {
        &self.failures[usize::from(period & 1 == 1)]
    }

    /// Appends an outcome, and returns the last 64.
    fn shift(&self, period: u64, bit: u64) -> u64 {
        let shift = |failures: u64| failures << 1 | bit;
        let before = self.failures_of(period).fetch_update(
            Ordering::Relaxed,
            Ordering::Relaxed,
            |failures| Some(shift(failures)),
        );
        before.map_or(0, shift)
    }

    fn change(&self, from: u64, to: u64) -> Result<(), u64> {
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}
