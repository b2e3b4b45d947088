//! The one writer of log lines and audit events, which keeps them whole and in order.
//!
//! A log line is written at once. An audit event waits for the next write of any kind: all events
//! that are added until then share it. Whoever must not go on before its event is written calls
//! [`Output::flush`] or waits for [`Output::settled`].
//!
//! No write waits for the destination. While that takes nothing, lines stay here in their order,
//! and somebody has to call [`Output::resume`] once it takes more.

use std::{
    io::{self, ErrorKind},
    mem,
    pin::pin,
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::counts::{Counts, Loss};

/// Beyond this, whoever adds a line writes all of them.
const MAX_PENDING: usize = 64 * 1024;

/// What a buffer that once held more is shrunk to.
const MAX_SPARE: usize = 2 * MAX_PENDING;

/// While the destination takes nothing and this much is pending, log lines are left out. Audit
/// events are not.
const MAX_BLOCKED: usize = 1024 * 1024;

/// After this, [`Output::fits_now`] asks again how much the destination takes: others write to a
/// pipe too. It costs less than one such question for each call of a busy process.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where lines are written to.
pub(super) trait Destination {
    /// Writes a part of `bytes` without waiting: `WouldBlock` means that none is taken now.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns how many bytes the next writes are sure to take.
    fn room(&self) -> usize;
}

/// Lines that are written in the order in which they are added, each as a whole.
///
/// The lock of `writer` is held during a write, that of `pending` only while bytes are copied, so
/// that lines can be added meanwhile.
#[derive(Debug)]
pub(super) struct Output<O> {
    /// How many lines have been added, and how many of them are settled: written, or lost.
    added: AtomicU64,
    settled: AtomicU64,
    /// Whether the destination has not taken all that it was given.
    is_blocked: AtomicBool,
    /// How much the destination is sure to take in addition to what is being written, and whether
    /// that is enough for what is pending.
    room: AtomicUsize,
    fits: AtomicBool,
    /// When the destination was last asked for it, as [`now`] says it.
    looked: AtomicU64,
    pending: Mutex<Pending>,
    writer: Mutex<Writer<O>>,
    /// How many wait for [`Output::settled`], and what wakes them.
    waiting: AtomicUsize,
    progress: Notify,
    /// Whether nobody waits any more.
    is_released: AtomicBool,
    counts: Counts,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    /// An audit event.
    Event,
}

/// The end of a line in its buffer.
#[derive(Debug)]
struct End {
    at: usize,
    kind: Kind,
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    ends: Vec<End>,
    /// How many lines have been added, now and before.
    lines: u64,
    /// Whether nobody will flush the next line unless told.
    is_unattended: bool,
}

#[derive(Debug)]
struct Writer<O> {
    /// Opens the destination.
    open: O,
    /// The lines being written, in buffers that take turns with the pending ones.
    bytes: Vec<u8>,
    ends: Vec<End>,
    /// How many of the bytes and of the lines are written.
    written: usize,
    ended: usize,
    /// Whether the last write failed in the middle of a line.
    is_cut: bool,
}

/// What becomes of an event that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Added {
    /// It is written, or somebody flushes it soon.
    Attended,
    /// The caller sees to it that it is flushed soon.
    Unattended,
}

/// How far a flush has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Flushed {
    /// Every line that was added before is settled.
    All,
    /// The destination takes nothing. Whoever was told so first attends to it.
    Blocked,
    /// The same, and the caller is the one who has to see to it that [`Output::resume`] is called.
    JustBlocked,
}

impl<O> Output<O> {
    pub(super) const fn new(open: O) -> Self {
        let pending =
            Pending { bytes: Vec::new(), ends: Vec::new(), lines: 0, is_unattended: true };
        let writer = Writer {
            open,
            bytes: Vec::new(),
            ends: Vec::new(),
            written: 0,
            ended: 0,
            is_cut: false,
        };
        Self {
            added: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            // Unknown before the first write.
            room: AtomicUsize::new(0),
            fits: AtomicBool::new(true),
            looked: AtomicU64::new(0),
            pending: Mutex::new(pending),
            writer: Mutex::new(writer),
            waiting: AtomicUsize::new(0),
            progress: Notify::const_new(),
            is_released: AtomicBool::new(false),
            counts: Counts::new(),
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the number of the line that was added last.
    pub(super) fn last(&self) -> u64 {
        self.added.load(Ordering::Acquire)
    }

    /// Whether the line with this number, and all before it, are written or lost.
    pub(super) fn is_settled(&self, line: u64) -> bool {
        self.settled.load(Ordering::SeqCst) >= line
    }

    /// Returns how many lines are neither written nor lost.
    pub(super) fn unsettled(&self) -> u64 {
        self.last().saturating_sub(self.settled.load(Ordering::SeqCst))
    }

    /// Whether the destination takes nothing at the moment.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Acquire)
    }

    /// Whether the next flush is sure to write what is pending.
    pub(super) fn fits(&self) -> bool {
        self.fits.load(Ordering::Acquire) && !self.is_blocked()
    }

    /// Returns whether every line is settled. Otherwise, asks for the next [`Added::Unattended`].
    pub(super) fn is_written(&self) -> bool {
        let mut pending = lock(&self.pending);
        pending.is_unattended = self.is_settled(pending.lines);
        pending.is_unattended
    }

    /// Returns how many wait for a line to be settled.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are pending, apart from those that are being written.
    pub(super) fn pending(&self) -> usize {
        lock(&self.pending).bytes.len()
    }

    /// Lets all go on that wait in [`Output::settled`], or would. Returns how many waited.
    pub(super) fn release(&self) -> usize {
        self.is_released.store(true, Ordering::SeqCst);
        let waiting = self.waiting();
        self.progress.notify_waiters();
        waiting
    }

    /// Waits until the line with this number, and all before it, are settled, or until
    /// [`Output::release`].
    pub(super) async fn settled(&self, line: u64) {
        let _waiting = Waiting::start(&self.waiting);
        loop {
            let mut progress = pin!(self.progress.notified());
            progress.as_mut().enable();
            if self.is_settled(line) || self.is_released.load(Ordering::SeqCst) {
                return;
            }
            progress.await;
        }
    }

    fn push(&self, line: &[u8], kind: Kind) -> MutexGuard<'_, Pending> {
        let mut pending = lock(&self.pending);
        pending.bytes.extend_from_slice(line);
        let at = pending.bytes.len();
        pending.ends.push(End { at, kind });
        pending.lines += 1;
        if at > self.room.load(Ordering::Relaxed) {
            self.fits.store(false, Ordering::Release);
        }
        // Under the lock, so that the count never goes back.
        self.added.store(pending.lines, Ordering::Release);
        pending
    }

    /// Counts more lines as settled, and wakes whoever waits for them.
    fn settle(&self, lines: usize) {
        // With `Waiting::start`, in one order for all: either this sees who waits, or who waits
        // sees what is settled.
        self.settled.fetch_add(lines as u64, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.progress.notify_waiters();
        }
    }
}

/// One who waits, counted until drop.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn start(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<O: Fn() -> D, D: Destination> Output<O> {
    /// Writes a log line, which ends in a line break, after the lines that were added before.
    pub(super) fn write(&self, line: &[u8]) -> Flushed {
        if self.is_blocked() && self.pending() >= MAX_BLOCKED {
            self.counts.suppress_lines(1);
            return Flushed::Blocked;
        }
        drop(self.push(line, Kind::Log));
        self.flush()
    }

    /// Adds an audit event, which ends in a line break. Writes it only when too much is pending.
    /// Returns its number too.
    pub(super) fn add(&self, event: &[u8]) -> (u64, Added) {
        let mut pending = self.push(event, Kind::Event);
        let number = pending.lines;
        if pending.bytes.len() >= MAX_PENDING && !self.is_blocked() {
            drop(pending);
            let is_blocked = self.flush() == Flushed::JustBlocked;
            return (number, if is_blocked { Added::Unattended } else { Added::Attended });
        }
        let is_unattended = mem::take(&mut pending.is_unattended);
        (number, if is_unattended { Added::Unattended } else { Added::Attended })
    }

    /// Writes what is pending as far as the destination takes it at once. Lines that cannot be
    /// written are lost: a full disk stops no call.
    pub(super) fn flush(&self) -> Flushed {
        let last = self.last();
        if self.is_settled(last) {
            return Flushed::All;
        }
        if self.is_blocked() {
            return Flushed::Blocked;
        }
        self.write_to(last)
    }

    /// Goes on where a flush was blocked.
    pub(super) fn resume(&self) -> Flushed {
        self.write_to(self.last())
    }

    /// Whether the next flush is sure to write what is pending, by a look at the destination that
    /// is not older than [`LOOK_AGAIN`].
    pub(super) fn fits_now(&self) -> bool {
        let age = now().saturating_sub(self.looked.load(Ordering::Relaxed));
        // Whoever writes looks by itself afterwards.
        if u128::from(age) > LOOK_AGAIN.as_micros()
            && !self.is_blocked()
            && let Ok(writer) = self.writer.try_lock()
            && writer.bytes.is_empty()
        {
            let pending = lock(&self.pending);
            self.look(&(writer.open)());
            let fits = pending.bytes.len() <= self.room.load(Ordering::Relaxed);
            self.fits.store(fits, Ordering::Release);
        }
        self.fits()
    }

    /// Asks the destination how much it takes.
    fn look(&self, destination: &D) {
        self.room.store(destination.room(), Ordering::Relaxed);
        self.looked.store(now(), Ordering::Relaxed);
    }

    /// Writes the lines up to this number, and what is pending with them.
    fn write_to(&self, line: u64) -> Flushed {
        let mut writer = lock(&self.writer);
        // Whoever held the lock may have written them.
        while !self.is_settled(line) {
            if writer.bytes.is_empty() {
                self.refill(&mut writer);
            }
            if !self.write_on(&mut writer) {
                let was_blocked = self.is_blocked.swap(true, Ordering::AcqRel);
                return if was_blocked { Flushed::Blocked } else { Flushed::JustBlocked };
            }
        }
        self.is_blocked.store(false, Ordering::Release);
        Flushed::All
    }

    /// Takes what is pending.
    fn refill(&self, writer: &mut Writer<O>) {
        let mut pending = lock(&self.pending);
        mem::swap(&mut pending.bytes, &mut writer.bytes);
        mem::swap(&mut pending.ends, &mut writer.ends);
        let room = self.room.load(Ordering::Relaxed);
        self.room.store(room.saturating_sub(writer.bytes.len()), Ordering::Relaxed);
        self.fits.store(true, Ordering::Release);
    }

    /// Writes what the writer has. Returns whether it is all settled.
    fn write_on(&self, writer: &mut Writer<O>) -> bool {
        let mut destination = (writer.open)();
        let failure = loop {
            match writer.write_some(&mut destination) {
                Ok(ended) => self.settle_written(writer, ended),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => return false,
                    _ => break Some(error),
                },
            }
            if writer.written == writer.bytes.len() {
                break None;
            }
        };
        if let Some(error) = failure {
            self.settle_lost(writer, Loss::of(&error));
        }
        writer.clear();
        self.look(&destination);
        true
    }

    fn settle_written(&self, writer: &mut Writer<O>, lines: usize) {
        let ends = &writer.ends[writer.ended..writer.ended + lines];
        self.counts.write_events(ends.iter().filter(|end| end.kind == Kind::Event).count());
        writer.ended += lines;
        self.settle(lines);
    }

    fn settle_lost(&self, writer: &mut Writer<O>, loss: Loss) {
        let ends = &writer.ends[writer.ended..];
        let events = ends.iter().filter(|end| end.kind == Kind::Event).count();
        self.counts.lose_events(events, loss);
        self.counts.suppress_lines(ends.len() - events);
        let begun = writer.written;
        writer.is_cut |= begun > 0 && writer.bytes[begun - 1] != b'\n';
        self.settle(writer.ends.len() - writer.ended);
    }
}

impl<O> Writer<O> {
    /// Writes a part of what is left. Returns how many lines are complete with it.
    fn write_some(&mut self, destination: &mut impl Destination) -> io::Result<usize> {
        if self.is_cut {
            not_zero(destination.write(b"\n")?)?;
            self.is_cut = false;
        }
        self.written += not_zero(destination.write(&self.bytes[self.written..])?)?;
        let ends = self.ends[self.ended..].iter();
        Ok(ends.take_while(|end| end.at <= self.written).count())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(MAX_SPARE);
        self.ends.clear();
        self.ends.shrink_to(MAX_SPARE / 64);
        (self.written, self.ended) = (0, 0);
    }
}

/// Returns the microseconds since the first call.
fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn not_zero(written: usize) -> io::Result<usize> {
    if written == 0 { Err(ErrorKind::WriteZero.into()) } else { Ok(written) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, mpsc},
        thread,
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    /// A destination that keeps what it gets, and obeys a script first.
    #[derive(Clone, Default)]
    struct Destination(Arc<Mutex<Script>>);

    #[derive(Default)]
    struct Script {
        bytes: Vec<u8>,
        /// What becomes of the next writes: how many bytes are taken, or an error.
        answers: VecDeque<Result<usize, ErrorKind>>,
        /// The most bytes that a write takes.
        limit: Option<usize>,
        /// How many bytes it says that it will take.
        room: usize,
        writes: usize,
        /// Told about each write, which goes on when answered.
        gate: Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>,
    }

    impl Destination {
        fn output(&self) -> Output<impl Fn() -> Self + Send + Sync + 'static> {
            let this = self.clone();
            Output::new(move || this.clone())
        }

        fn text(&self) -> String {
            String::from_utf8(lock(&self.0).bytes.clone()).unwrap()
        }

        fn writes(&self) -> usize {
            lock(&self.0).writes
        }
    }

    impl super::Destination for Destination {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let gate = lock(&self.0).gate.take();
            if let Some((begun, go_on)) = gate {
                begun.send(()).unwrap();
                go_on.recv().unwrap();
            }
            let mut script = lock(&self.0);
            script.writes += 1;
            let answer = script.answers.pop_front();
            let taken = answer.unwrap_or(Ok(usize::MAX)).map_err(io::Error::from)?;
            let taken = taken.min(bytes.len()).min(script.limit.unwrap_or(usize::MAX));
            script.bytes.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn room(&self) -> usize {
            lock(&self.0).room
        }
    }

    /// Adds a line that nobody but the test flushes.
    fn add(output: &Output<impl Fn() -> Destination>, line: &str) {
        let (_, Added::Attended | Added::Unattended) = output.add(line.as_bytes());
    }

    /// Flushes, and says whether all is written.
    fn flush(output: &Output<impl Fn() -> Destination>) -> bool {
        output.flush() == Flushed::All
    }

    /// Writes a log line to a destination that takes it, or fails.
    fn write(output: &Output<impl Fn() -> Destination>, line: &str) {
        assert_eq!(output.write(line.as_bytes()), Flushed::All);
    }

    #[test]
    fn added_lines_share_one_write_and_a_log_line_comes_after_them() {
        let destination = Destination::default();
        let output = destination.output();

        add(&output, "a\n");
        add(&output, "b\n");
        assert_eq!(destination.writes(), 0);
        assert!(flush(&output));
        assert!(flush(&output));
        assert_eq!((destination.text().as_str(), destination.writes()), ("a\nb\n", 1));
        add(&output, "c\n");
        write(&output, "log\n");

        assert_eq!((destination.text().as_str(), destination.writes()), ("a\nb\nc\nlog\n", 2));
    }

    #[test]
    fn only_the_first_line_that_nobody_would_flush_asks_for_it() {
        let output = Destination::default().output();

        assert_eq!(output.add(b"a\n"), (1, Added::Unattended));
        assert_eq!(output.add(b"b\n"), (2, Added::Attended));
        assert!(!output.is_written());
        assert!(flush(&output));
        assert_eq!(
            output.add(b"c\n"),
            (3, Added::Attended),
            "whoever attends has not looked since"
        );
        write(&output, "log\n");
        assert!(output.is_written());

        write(&output, "log\n");
        assert_eq!(
            output.add(b"d\n"),
            (6, Added::Unattended),
            "a log line attends to itself alone"
        );
    }

    #[test]
    fn lines_are_added_during_a_write_and_who_waits_for_its_line_waits_for_that_write() {
        let destination = Destination::default();
        let output = destination.output();
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel();
        lock(&destination.0).gate = Some((begun, may_go_on));
        add(&output, "a\n");

        thread::scope(|scope| {
            scope.spawn(|| assert!(flush(&output)));
            has_begun.recv().unwrap();
            add(&output, "b\n");
            let waiting = scope.spawn(|| {
                // Its line is in the write that has begun, or in the next.
                assert!(flush(&output));
                destination.text()
            });
            assert_eq!(destination.text(), "", "the first write has not ended");
            go_on.send(()).unwrap();

            assert_eq!(waiting.join().unwrap(), "a\nb\n");
        });
    }

    #[test]
    fn lines_of_many_threads_stay_whole_and_in_order() {
        const THREADS: usize = 8;
        const LINES: usize = 300;
        let destination = Destination::default();
        // Each write is cut, so that two at a time would mix lines.
        lock(&destination.0).limit = Some(11);
        let output = destination.output();

        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (output, destination) = (&output, &destination);
                scope.spawn(move || {
                    for number in 0..LINES {
                        let line = format!("thread {thread} line {number}\n");
                        if number % 3 == 0 {
                            write(output, &line);
                        } else {
                            add(output, &line);
                            assert!(flush(output));
                        }
                        assert!(destination.text().contains(&line), "it was not waited for");
                    }
                });
            }
        });

        let text = destination.text();
        for thread in 0..THREADS {
            let prefix = format!("thread {thread} ");
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&prefix)).collect();
            let expected: Vec<_> = (0..LINES).map(|it| format!("{prefix}line {it}")).collect();
            assert_eq!(lines, expected);
        }
        assert_eq!(text.lines().count(), THREADS * LINES);
    }

    #[test]
    fn too_many_pending_lines_are_written_at_once_and_a_buffer_that_grew_is_shrunk() {
        let destination = Destination::default();
        let output = destination.output();
        let line = "x".repeat(1023) + "\n";

        for _ in 0..63 {
            add(&output, &line);
        }
        assert_eq!(destination.writes(), 0);
        add(&output, &line);
        assert_eq!((destination.text().len(), destination.writes()), (MAX_PENDING, 1));

        add(&output, &("x".repeat(10 * MAX_PENDING) + "\n"));
        write(&output, "log\n");
        write(&output, "log\n");
        let (spare, pending) =
            (lock(&output.writer).bytes.capacity(), lock(&output.pending).bytes.capacity());
        assert!(spare.max(pending) <= MAX_SPARE, "{spare} and {pending}");
    }

    #[test]
    fn a_destination_that_is_interrupted_or_full_for_a_moment_gets_every_byte() {
        let destination = Destination::default();
        lock(&destination.0).answers =
            [Err(ErrorKind::Interrupted), Ok(2), Err(ErrorKind::WouldBlock), Ok(1)].into();
        let output = destination.output();

        assert_eq!(output.write(b"a line\n"), Flushed::JustBlocked);
        assert_eq!(output.resume(), Flushed::All);

        assert_eq!(destination.text(), "a line\n");
    }

    #[test]
    fn while_the_destination_takes_nothing_events_are_kept_and_some_log_lines() {
        let (destination, line) = (Destination::default(), "x".repeat(1023) + "\n");
        let output = destination.output();
        lock(&destination.0).answers = [Ok(3), Err(ErrorKind::WouldBlock)].into();

        assert_eq!(output.write(b"cut\n"), Flushed::JustBlocked);
        for _ in 0..2 * MAX_BLOCKED / 1024 {
            assert_eq!(output.write(line.as_bytes()), Flushed::Blocked);
        }
        add(&output, "event\n");
        assert!(!output.fits() && !output.is_written() && !flush(&output));
        assert_eq!((destination.text().as_str(), output.counts().events()), ("cut", 0));
        assert_eq!(output.resume(), Flushed::All);

        let text = destination.text();
        assert_eq!(text.lines().count(), 1 + MAX_BLOCKED / 1024 + 1);
        assert!(text.starts_with("cut\nx") && text.ends_with("x\nevent\n"));
        let counts = output.counts();
        assert_eq!((counts.events(), counts.suppressed()), (1, MAX_BLOCKED as u64 / 1024));
        assert!(output.is_written());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_event_goes_on_once_the_part_with_it_is_written() {
        let destination = Destination::default();
        let output = destination.output();
        lock(&destination.0).answers =
            [Err(ErrorKind::WouldBlock), Ok(4), Err(ErrorKind::WouldBlock)].into();
        add(&output, "1\n");
        add(&output, "2\n");
        add(&output, "3\n");
        let moment = Duration::from_millis(1);

        assert_eq!(output.flush(), Flushed::JustBlocked);
        assert!(timeout(moment, output.settled(1)).await.is_err());
        let second = output.settled(2);
        let mut second = pin!(second);
        assert!(timeout(moment, &mut second).await.is_err());
        assert_eq!((output.waiting(), output.resume()), (1, Flushed::Blocked));

        timeout(moment, second).await.expect("it is written");
        assert!(timeout(moment, output.settled(3)).await.is_err());
        assert_eq!((output.waiting(), output.resume()), (0, Flushed::All));
        output.settled(3).await;
        assert_eq!(destination.text(), "1\n2\n3\n");
    }

    #[test]
    fn a_flush_is_sure_to_succeed_only_as_far_as_the_destination_said() {
        let destination = Destination::default();
        let output = destination.output();
        lock(&destination.0).room = 4;
        add(&output, "1\n");
        assert!(!output.fits(), "nothing is known yet");
        assert!(flush(&output));

        add(&output, "2\n");
        add(&output, "3\n");
        assert!(output.fits());
        add(&output, "4\n");
        assert!(!output.fits());
        assert!(flush(&output));
        add(&output, "5\n");
        assert!(output.fits());
    }

    #[test]
    fn a_destination_that_others_fill_is_asked_again_before_a_flush_is_said_to_succeed() {
        let destination = Destination::default();
        let output = destination.output();
        lock(&destination.0).room = 8;
        add(&output, "1\n");
        assert!(flush(&output));
        add(&output, "2\n");
        assert!(output.fits_now());

        for (room, fits) in [(0, false), (1, false), (2, true)] {
            lock(&destination.0).room = room;
            thread::sleep(2 * LOOK_AGAIN);
            assert_eq!(output.fits_now(), fits, "{room}");
        }
    }

    #[tokio::test]
    async fn once_they_are_released_nobody_waits_for_a_line() {
        let destination = Destination::default();
        let output = destination.output();
        lock(&destination.0).answers = [Err(ErrorKind::WouldBlock)].into();
        add(&output, "event\n");
        assert_eq!(output.flush(), Flushed::JustBlocked);
        let settled = output.settled(1);
        let mut settled = pin!(settled);
        assert!(futures_util::poll!(&mut settled).is_pending());

        assert_eq!(output.release(), 1);

        settled.await;
        output.settled(1).await;
        assert_eq!((output.waiting(), output.unsettled()), (0, 1));
    }

    #[test]
    fn what_a_destination_does_not_take_is_lost_and_counted_by_reason() {
        for (error, loss) in [
            (ErrorKind::BrokenPipe, Loss::Closed),
            (ErrorKind::StorageFull, Loss::Full),
            (ErrorKind::PermissionDenied, Loss::Failed),
        ] {
            let destination = Destination::default();
            let output = destination.output();
            add(&output, "whole\n");
            add(&output, "cut\n");
            add(&output, "lost\n");
            lock(&destination.0).answers = [Ok(8), Err(error)].into();

            write(&output, "log\n");

            let counts = output.counts();
            assert_eq!(
                (counts.events(), counts.lost(loss), counts.suppressed()),
                (1, 2, 1),
                "{error}"
            );
            assert_eq!((destination.text().as_str(), output.unsettled()), ("whole\ncu", 0));
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cut_does_not_run_into_the_next() {
        const FULL: ErrorKind = ErrorKind::StorageFull;
        let destination = Destination::default();
        lock(&destination.0).answers =
            [Ok(3), Err(FULL), Err(FULL), Ok(1), Ok(usize::MAX), Err(FULL)].into();
        let output = destination.output();

        write(&output, "cut off\n");
        write(&output, "lost\n");
        write(&output, "whole\n");
        write(&output, "lost\n");
        write(&output, "next\n");

        assert_eq!(destination.text(), "cut\nwhole\nnext\n");
    }
}
