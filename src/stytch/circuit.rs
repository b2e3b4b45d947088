//! The state of the circuit breaker: who may go through, and what their outcomes change.
//!
//! One word says whether it is closed, or open until when and with a probe under way or not; each transition is
//! one compare-and-swap of it, so none can be made on the strength of what has changed meanwhile. The word holds
//! the number of its period too, so that an outcome counts in the period that its attempt began in, or not at
//! all. It knows nothing of clocks: times are milliseconds that the caller counts, from 1.
//!
//! `models/tests/breaker.rs` runs this file through every order of events.

use crate::atomic::{AtomicU64, Ordering};

/// So many failures in a row open it.
pub(crate) const CONSECUTIVE: u32 = 10;
/// So many failures among the last 64 attempts open it.
pub(crate) const OF_LAST_64: u32 = 32;
/// For how many milliseconds it refuses before the next probe.
pub(crate) const OPEN_FOR_MS: u64 = 2000;

const PERIOD: u64 = (1 << 20) - 1;
const PROBING: u64 = 1 << 20;
const UNTIL: u32 = 21;

/// The breaker's state: `until`, zero when closed; whether a probe is under way; the number of the period.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    word: AtomicU64,
    /// A bit for each of the last attempts of a closed period, newest lowest, set where it failed. While nothing
    /// fails, it is zero and only read. Periods take turns: what is late is counted where nobody looks.
    failures: [AtomicU64; 2],
}

/// Leave for one attempt: the state under which it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leave(u64);

/// What a failure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Nothing but the count, if that.
    Counted,
    /// The breaker has opened, with these outcomes.
    Opened(u64),
    /// It stays open: the probe failed.
    StaysOpen,
}

impl Leave {
    /// Whether the attempt is a probe of an open breaker.
    pub(crate) fn is_probe(self) -> bool {
        self.0 & PROBING != 0
    }

    fn period(self) -> u64 {
        self.0 & PERIOD
    }
}

impl Circuit {
    /// Leave for an attempt, or for how many milliseconds there is none.
    pub(crate) fn admit(&self, now: u64) -> Result<Leave, u64> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let until = word >> UNTIL;
            if until == 0 {
                return Ok(Leave(word));
            }
            if until > now {
                return Err(until - now);
            }
            if word & PROBING != 0 {
                return Err(OPEN_FOR_MS);
            }
            match self.change(word, word | PROBING) {
                Ok(()) => return Ok(Leave(word | PROBING)),
                Err(current) => word = current,
            }
        }
    }

    /// Counts an answer. Returns whether it has closed the breaker.
    pub(crate) fn answered(&self, leave: Leave) -> bool {
        if leave.is_probe() {
            let next = (leave.period() + 1) & PERIOD;
            self.failures_of(next).store(0, Ordering::Relaxed);
            return self.change(leave.0, next).is_ok();
        }
        if self.is_current(leave) && self.failures_of(leave.period()).load(Ordering::Relaxed) != 0 {
            self.shift(leave.period(), 0);
        }
        false
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, leave: Leave, now: u64) -> Failed {
        let open = (now + OPEN_FOR_MS) << UNTIL | leave.period();
        if leave.is_probe() {
            let _ = self.change(leave.0, open);
            return Failed::StaysOpen;
        }
        if !self.is_current(leave) {
            return Failed::Counted;
        }
        let failures = self.shift(leave.period(), 1);
        let too_many =
            failures.trailing_ones() >= CONSECUTIVE || failures.count_ones() >= OF_LAST_64;
        match too_many && self.change(leave.0, open).is_ok() {
            true => Failed::Opened(failures),
            false => Failed::Counted,
        }
    }

    /// The attempt says nothing about the other side; the next probe may go.
    pub(crate) fn withdrawn(&self, leave: Leave) {
        if leave.is_probe() {
            let _ = self.change(leave.0, leave.0 & !PROBING);
        }
    }

    /// The last 64 outcomes of the present period.
    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        self.failures_of(self.word.load(Ordering::Acquire)).load(Ordering::Relaxed)
    }

    /// Whether the period in which this was given, closed, goes on.
    fn is_current(&self, leave: Leave) -> bool {
        self.word.load(Ordering::Acquire) == leave.0
    }

    fn failures_of(&self, period: u64) -> &AtomicU64 {
        &self.failures[usize::from(period & 1 == 1)]
    }

    /// Adds an outcome, and returns the last 64.
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
