//! Limits how often lines of a kind are logged, so that nobody can flood the log. A line that is
//! logged says how many were left out before it, in its field `suppressed`.
//!
//! Our own lines at `info` and above are limited where they are logged, unless nobody but an
//! operator can cause them. Those of libraries are limited here, since a peer causes most of them.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tracing::{Level, Metadata};

use super::{calls, trail};

/// The interval between two lines, in milliseconds.
const INTERVAL: u64 = 1000;

/// How many groups the callers are divided into, or whatever else has no bound.
const GROUPS: usize = 16;

/// Lets a line of a kind pass once a second.
#[derive(Debug)]
pub(crate) struct Limit {
    /// When the next line may be logged, in milliseconds since the first look at the clock.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl Limit {
    pub(crate) const fn new() -> Self {
        Self { next: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Returns how many lines were left out since the last one, if a line may be logged now.
    /// Otherwise leaves it out.
    pub(crate) fn pass(&self) -> Option<u64> {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let now = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX);
        let passed = self.pass_at(now);
        if passed.is_none() {
            trail::counts().suppress_lines(1);
        }
        passed
    }

    fn pass_at(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let passes = now >= next
            && self.next.compare_exchange(next, now + INTERVAL, success, failure).is_ok();
        if passes {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// The same for each of many kinds. They are divided into groups that share a limit, so that it
/// takes no more memory however many there are.
#[derive(Debug)]
pub(crate) struct Grouped([Limit; GROUPS]);

impl Grouped {
    pub(crate) const fn new() -> Self {
        Self([const { Limit::new() }; GROUPS])
    }

    /// Does what [`Limit::pass`] does, for lines of this kind.
    pub(crate) fn pass(&self, kind: impl Hash) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        kind.hash(&mut hasher);
        let group = hasher.finish() % GROUPS as u64;
        self.0[usize::try_from(group).unwrap_or_default()].pass()
    }
}

/// The same for each caller.
#[derive(Debug)]
pub(crate) struct ByCaller(Grouped);

impl ByCaller {
    pub(crate) const fn new() -> Self {
        Self(Grouped::new())
    }

    /// Does what [`Limit::pass`] does, for who makes the current call.
    pub(crate) fn pass(&self) -> Option<u64> {
        calls::with_caller(|name| self.0.pass(name))
    }
}

/// What becomes of a line of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfLibrary {
    /// It is ours, or at a level that only an operator turns on.
    No,
    /// It is logged, and this many were left out before it.
    Passes(u64),
    LeftOut,
}

/// Limits the lines of libraries, by where they are logged.
pub(super) fn of_library(metadata: &Metadata<'_>) -> OfLibrary {
    static LIMITS: Grouped = Grouped::new();

    if *metadata.level() > Level::INFO {
        return OfLibrary::No;
    }
    LIMITS.pass(metadata.callsite()).map_or(OfLibrary::LeftOut, OfLibrary::Passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_passes_and_says_how_many_did_not() {
        let limit = Limit::new();

        for (now, passes) in [
            (0, Some(0)),
            (1, None),
            (INTERVAL - 1, None),
            (INTERVAL, Some(2)),
            (5 * INTERVAL, Some(0)),
            (5 * INTERVAL, None),
            (6 * INTERVAL, Some(1)),
        ] {
            assert_eq!(limit.pass_at(now), passes, "{now}");
        }
    }
}
