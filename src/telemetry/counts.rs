//! What became of audit events and log lines, for the metrics.

use std::{
    io::{self, ErrorKind},
    sync::atomic::{AtomicU64, Ordering},
};

/// Why audit events are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nobody reads standard error any more.
    Closed,
    /// The disk is full, or a quota or the limit on a file's size is reached.
    Full,
    /// Writing fails in another way.
    Failed,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Full, Self::Failed];

    pub(super) fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => {
                Self::Closed
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full
            }
            _ => Self::Failed,
        }
    }

    /// Returns its name as a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

/// Counts since the start of the process.
#[derive(Debug)]
pub struct Counts {
    events: AtomicU64,
    lost: [AtomicU64; Loss::ALL.len()],
    suppressed: AtomicU64,
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self {
            events: AtomicU64::new(0),
            lost: [const { AtomicU64::new(0) }; Loss::ALL.len()],
            suppressed: AtomicU64::new(0),
        }
    }

    /// Returns how many audit events were written.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Returns how many audit events were lost for this reason.
    pub fn lost(&self, loss: Loss) -> u64 {
        self.lost[loss as usize].load(Ordering::Relaxed)
    }

    /// Returns how many log lines were left out: by a limit on lines of their kind, or because
    /// standard error did not take them.
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    pub(super) fn write_events(&self, events: usize) {
        self.events.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(super) fn lose_events(&self, events: usize, loss: Loss) {
        self.lost[loss as usize].fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(super) fn suppress_lines(&self, lines: usize) {
        self.suppressed.fetch_add(lines as u64, Ordering::Relaxed);
    }
}
