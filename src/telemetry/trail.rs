//! When audit events are written: before their callers are answered, or in the background; and what
//! waits for them while standard error takes nothing.
//!
//! A connection writes the events that its responses owe before it writes these. So calls that are
//! answered together share one write. When it is not certain that standard error takes that write,
//! the call itself writes its event before the connection gets its response, and waits if it must,
//! so that the connection never has to: it carries other calls as well.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use super::{
    calls,
    counts::Counts,
    output::{Added, Flushed, Output},
    stderr::{Stderr, stderr},
};

/// When the audit event of a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AuditWrite {
    /// Before the first byte of the response leaves the process.
    BeforeResponse,
    /// In the background, a few milliseconds later.
    Background,
}

/// How long an event may wait for a write that others wait for too.
const MAX_DELAY: Duration = Duration::from_millis(10);

/// How much may be pending while standard error takes nothing: beyond that, calls that would owe an
/// event are refused.
const MAX_BLOCKED: usize = 16 * 1024 * 1024;

/// How long [`flush`] waits while standard error takes nothing.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How long [`flush`] waits in all, however little standard error takes at a time. Together with
/// the longest drain it stays below the time after which Kubernetes kills.
const LONGEST_LAST_WAIT: Duration = Duration::from_millis(2500);

static STDERR: Output<fn() -> &'static Stderr> = Output::new(stderr);

static RESPONSES_WAIT: AtomicBool = AtomicBool::new(true);

/// How many calls may wait while standard error takes nothing: beyond that, others are refused.
static MAX_WAITING: AtomicUsize = AtomicUsize::new(usize::MAX);

pub(super) fn set_write(write: AuditWrite) {
    RESPONSES_WAIT.store(write == AuditWrite::BeforeResponse, Ordering::Relaxed);
}

/// Lets this many calls at a time wait for standard error, besides those that are in flight when it
/// blocks. A call that waits holds no permit, but a stream of its connection, so connections need
/// streams for other calls as well.
pub(crate) fn let_wait(calls: usize) {
    MAX_WAITING.store(calls, Ordering::Relaxed);
}

/// Returns what became of audit events and log lines in this process.
pub fn counts() -> &'static Counts {
    STDERR.counts()
}

/// What standard error has not taken yet.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// Whether standard error takes nothing at the moment.
    pub is_blocked: bool,
    /// How many calls wait for it.
    pub calls: usize,
    /// How many bytes wait for it, apart from those that are being written.
    pub bytes: usize,
}

/// Returns what standard error has not taken yet.
pub fn backlog() -> Backlog {
    Backlog { is_blocked: STDERR.is_blocked(), calls: STDERR.waiting(), bytes: STDERR.pending() }
}

/// Writes a log line, or leaves it to the thread that attends to a blocked standard error.
pub(super) fn log(line: &[u8]) {
    attend_if_blocked(STDERR.write(line));
}

/// Writes lines of text that are no log lines, as `log` does.
pub fn say(text: &str) {
    log(text.as_bytes());
}

/// Adds the event of a call, which is written within [`MAX_DELAY`] unless standard error is
/// blocked.
pub(super) fn add(event: &[u8]) {
    let (number, added) = STDERR.add(event);
    calls::owe(number);
    if added == Added::Unattended {
        attend();
    }
}

/// Whether so much waits for standard error that no call should be made that will owe an event.
pub(crate) fn is_backed_up() -> bool {
    STDERR.is_blocked()
        && (STDERR.waiting() >= MAX_WAITING.load(Ordering::Relaxed)
            || STDERR.pending() >= MAX_BLOCKED)
}

/// What becomes of the event that a call owes when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owed {
    /// It is written, or the response need not wait for it.
    Nothing,
    /// The connection writes it before the response, see [`write_before_response`].
    ByConnection(u64),
    /// Standard error does not take it: the response waits, see [`written`].
    ByCall(u64),
}

/// Returns what the current call owes, and writes its event if it is uncertain that the connection
/// can.
pub(crate) fn owed() -> Owed {
    let event = calls::owed();
    if STDERR.is_settled(event) || !RESPONSES_WAIT.load(Ordering::Relaxed) {
        return Owed::Nothing;
    }
    if STDERR.fits_now() {
        return Owed::ByConnection(event);
    }
    match write(event) {
        true => Owed::Nothing,
        false => Owed::ByCall(event),
    }
}

/// Writes the events that the responses of a connection owe, up to this number. Returns whether
/// they are written. To be called before a response leaves the process.
pub(crate) fn write_before_response(event: u64) -> bool {
    STDERR.is_settled(event) || write(event)
}

/// Writes the events of all calls that have ended, unless responses do not wait for them. Returns
/// the number of the last if standard error does not take it.
pub(crate) fn write_all() -> Result<(), u64> {
    let event = STDERR.last();
    match !RESPONSES_WAIT.load(Ordering::Relaxed) || write(event) {
        true => Ok(()),
        false => Err(event),
    }
}

/// Waits until the event with this number is written, or lost, or until [`stop_waiting`].
pub(crate) async fn written(event: u64) {
    STDERR.settled(event).await;
}

/// Lets all go on that wait for an event, or would: the process is about to end, and they could not
/// be answered later. Returns how many waited.
pub(crate) fn stop_waiting() -> usize {
    STDERR.release()
}

/// Returns how many wait for an event.
pub(crate) fn waiting() -> usize {
    STDERR.waiting()
}

/// Writes what is pending, and returns whether the event with this number is settled by that.
fn write(event: u64) -> bool {
    attend_if_blocked(STDERR.flush());
    STDERR.is_settled(event)
}

/// Writes all audit events. To be called before the process ends. Returns whether they are written;
/// a standard error that takes nothing is given a little time.
pub fn flush() -> bool {
    let start = Instant::now();
    let (mut least, mut since) = (u64::MAX, start);
    while !write(STDERR.last()) {
        let left = STDERR.unsettled();
        if left < least {
            (least, since) = (left, Instant::now());
        }
        if since.elapsed() > LAST_WAIT || start.elapsed() > LONGEST_LAST_WAIT {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

fn attend_if_blocked(flushed: Flushed) {
    let is_alone = || matches!(WRITER.get(), Some(None));
    if flushed == Flushed::JustBlocked || (flushed == Flushed::Blocked && is_alone()) {
        attend();
    }
}

/// The thread that attends to lines that nobody else writes.
static WRITER: OnceLock<Option<Thread>> = OnceLock::new();

/// Starts that thread while the system is likely to have one.
pub(super) fn start() {
    WRITER.get_or_init(start_writer);
}

/// Makes sure that pending lines are written soon even if no connection writes. Without a thread,
/// they are written as far as they are taken now, and whoever adds the next one goes on: a thread
/// that serves calls must not wait.
fn attend() {
    match WRITER.get_or_init(start_writer) {
        Some(writer) => writer.unpark(),
        None => drop(STDERR.resume()),
    }
}

/// Starts the thread that writes in the background, or returns `None` if the system has none left.
fn start_writer() -> Option<Thread> {
    let writer = thread::Builder::new().name("log-writer".to_owned()).spawn(|| {
        loop {
            write_pending();
            thread::park();
        }
    });
    writer.ok().map(|writer| writer.thread().clone())
}

/// Writes until nothing is pending. Waits for standard error while it is blocked, and otherwise
/// [`MAX_DELAY`] for more lines.
fn write_pending() {
    while !STDERR.is_written() {
        if STDERR.is_blocked() {
            stderr().wait();
            if STDERR.resume() != Flushed::All {
                // Some systems say that there is room where there is too little.
                thread::sleep(Duration::from_millis(1));
            }
        } else {
            thread::sleep(MAX_DELAY);
            let _ = STDERR.flush();
        }
    }
}
