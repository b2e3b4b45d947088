//! When audit records are written: before their callers are answered, or in the background.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use super::output::{Added, STDERR};

/// When the audit record of a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuditWrite {
    /// Before the first byte of the response leaves the process.
    BeforeResponse,
    /// In the background, a few milliseconds later.
    Background,
}

/// How long a record may wait for a write that others wait for too.
const MAX_DELAY: Duration = Duration::from_millis(10);

static RESPONSES_WAIT: AtomicBool = AtomicBool::new(true);

pub(super) fn set_write(write: AuditWrite) {
    RESPONSES_WAIT.store(write == AuditWrite::BeforeResponse, Ordering::Relaxed);
}

/// Adds the record of a call, which is written within [`MAX_DELAY`] at the latest.
pub(super) fn add(record: &[u8]) {
    if STDERR.add(record) == Added::Unattended {
        attend();
    }
}

/// Writes the audit records of all calls that have ended, unless responses do not wait for them. To
/// be called before a response leaves the process.
pub(crate) fn write_before_response() {
    if RESPONSES_WAIT.load(Ordering::Relaxed) {
        STDERR.flush();
    }
}

/// Writes all audit records. To be called before the process ends.
pub fn flush() {
    STDERR.flush();
}

/// Makes sure that pending records are written soon even if no connection writes.
fn attend() {
    static WRITER: OnceLock<Option<Thread>> = OnceLock::new();
    match WRITER.get_or_init(start_writer) {
        Some(writer) => writer.unpark(),
        None => while_written(|| STDERR.flush()),
    }
}

/// Starts the thread that writes in the background, or returns `None` if the system has none left.
fn start_writer() -> Option<Thread> {
    let writer = thread::Builder::new().name("audit-writer".to_owned()).spawn(|| {
        loop {
            while_written(|| {
                thread::sleep(MAX_DELAY);
                STDERR.flush();
            });
            thread::park();
        }
    });
    writer.ok().map(|writer| writer.thread().clone())
}

/// Calls `write` until nothing is pending.
fn while_written(write: impl Fn()) {
    while !STDERR.is_written() {
        write();
    }
}
