//! The one writer of log lines and audit records, which keeps them whole and in order.
//!
//! A log line is written at once. An audit record waits for the next write of any kind: all records
//! that are added until then share it. Whoever must not go on before the records are written calls
//! [`Output::flush`].

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Beyond this, whoever adds a line writes all of them.
const MAX_PENDING: usize = 64 * 1024;

/// What a buffer that once held more is shrunk to.
const MAX_SPARE: usize = 2 * MAX_PENDING;

/// How long to wait while a destination that does not block is full.
const FULL: Duration = Duration::from_millis(1);

/// Lines that are written in the order in which they are added, each as a whole.
///
/// The lock of `writer` is held during a write, that of `pending` only while bytes are copied, so
/// that lines can be added meanwhile.
#[derive(Debug)]
pub(super) struct Output<O> {
    /// How many lines have been added, and how many of them have been written.
    added: AtomicU64,
    written: AtomicU64,
    pending: Mutex<Pending>,
    writer: Mutex<Writer<O>>,
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    lines: u64,
    /// Whether nobody will flush the next line unless told.
    is_unattended: bool,
}

#[derive(Debug)]
struct Writer<O> {
    /// Opens the destination for one write of many lines, and keeps others from it meanwhile.
    open: O,
    /// The buffer that takes turns with the pending one.
    spare: Vec<u8>,
    /// Whether the last write failed in the middle of a line.
    is_cut: bool,
}

impl<O> Output<O> {
    pub(super) const fn new(open: O) -> Self {
        let pending = Pending { bytes: Vec::new(), lines: 0, is_unattended: true };
        let writer = Writer { open, spare: Vec::new(), is_cut: false };
        Self {
            added: AtomicU64::new(0),
            written: AtomicU64::new(0),
            pending: Mutex::new(pending),
            writer: Mutex::new(writer),
        }
    }

    /// Returns whether every line is written. Otherwise, asks for the next [`Added::Unattended`].
    pub(super) fn is_written(&self) -> bool {
        let mut pending = lock(&self.pending);
        pending.is_unattended = pending.bytes.is_empty();
        pending.is_unattended
    }
}

/// What becomes of a line that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Added {
    /// It is written, or somebody flushes it soon.
    Attended,
    /// The caller sees to it that it is flushed soon.
    Unattended,
}

impl<O: Fn() -> W, W: Write> Output<O> {
    /// Writes a line, which ends in a line break, after those that were added before.
    pub(super) fn write(&self, line: &[u8]) {
        drop(self.push(line));
        self.flush();
    }

    /// Adds a line, which ends in a line break. Writes it only when too much is pending.
    pub(super) fn add(&self, line: &[u8]) -> Added {
        let mut pending = self.push(line);
        if pending.bytes.len() >= MAX_PENDING {
            drop(pending);
            self.flush();
            Added::Attended
        } else if mem::take(&mut pending.is_unattended) {
            Added::Unattended
        } else {
            Added::Attended
        }
    }

    fn push(&self, line: &[u8]) -> MutexGuard<'_, Pending> {
        let mut pending = lock(&self.pending);
        pending.bytes.extend_from_slice(line);
        pending.lines += 1;
        // Under the lock, so that the count never goes back.
        self.added.store(pending.lines, Ordering::Release);
        pending
    }

    /// Returns once every line that was added before is written. Lines that cannot be written are
    /// lost: a full disk stops no call.
    pub(super) fn flush(&self) {
        let added = self.added.load(Ordering::Acquire);
        if self.written.load(Ordering::Acquire) >= added {
            return;
        }
        let mut writer = lock(&self.writer);
        // Whoever held the lock may have written them.
        if self.written.load(Ordering::Acquire) >= added {
            return;
        }
        let mut bytes = mem::take(&mut writer.spare);
        let lines = {
            let mut pending = lock(&self.pending);
            mem::swap(&mut pending.bytes, &mut bytes);
            pending.lines
        };
        writer.write(&bytes);
        self.written.store(lines, Ordering::Release);
        bytes.clear();
        bytes.shrink_to(MAX_SPARE);
        writer.spare = bytes;
    }
}

impl<O: Fn() -> W, W: Write> Writer<O> {
    fn write(&mut self, lines: &[u8]) {
        let mut destination = (self.open)();
        if mem::take(&mut self.is_cut) && write_all(&mut destination, b"\n") == 0 {
            self.is_cut = true;
            return;
        }
        let written = write_all(&mut destination, lines);
        self.is_cut = written > 0 && lines[written - 1] != b'\n';
    }
}

/// Writes as much as possible, and returns how much that is.
fn write_all(destination: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match destination.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(more) => written += more,
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                // Another process may have made the shared standard error non-blocking.
                ErrorKind::WouldBlock => thread::sleep(FULL),
                _ => break,
            },
        }
    }
    written
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard error.
pub(super) static STDERR: Output<fn() -> io::StderrLock<'static>> =
    Output::new(|| io::stderr().lock());

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, mpsc},
    };

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

    impl Write for Destination {
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

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Adds a line that nobody but the test flushes.
    fn add(output: &Output<impl Fn() -> Destination>, line: &str) {
        let (Added::Attended | Added::Unattended) = output.add(line.as_bytes());
    }

    #[test]
    fn added_lines_share_one_write_and_a_log_line_comes_after_them() {
        let destination = Destination::default();
        let output = destination.output();

        add(&output, "a\n");
        add(&output, "b\n");
        assert_eq!(destination.writes(), 0);
        output.flush();
        output.flush();
        assert_eq!((destination.text().as_str(), destination.writes()), ("a\nb\n", 1));
        add(&output, "c\n");
        output.write(b"log\n");

        assert_eq!((destination.text().as_str(), destination.writes()), ("a\nb\nc\nlog\n", 2));
    }

    #[test]
    fn only_the_first_line_that_nobody_would_flush_asks_for_it() {
        let output = Destination::default().output();

        assert_eq!(output.add(b"a\n"), Added::Unattended);
        assert_eq!(output.add(b"b\n"), Added::Attended);
        assert!(!output.is_written());
        output.flush();
        assert_eq!(output.add(b"c\n"), Added::Attended, "whoever attends has not looked since");
        output.write(b"log\n");
        assert!(output.is_written());

        output.write(b"log\n");
        assert_eq!(output.add(b"d\n"), Added::Unattended, "a log line attends to itself alone");
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
            scope.spawn(|| output.flush());
            has_begun.recv().unwrap();
            add(&output, "b\n");
            let waiting = scope.spawn(|| {
                // Its line is in the write that has begun, or in the next.
                output.flush();
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
                            output.write(line.as_bytes());
                        } else {
                            add(output, &line);
                            output.flush();
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
        output.write(b"log\n");
        output.write(b"log\n");
        let (spare, pending) =
            (lock(&output.writer).spare.capacity(), lock(&output.pending).bytes.capacity());
        assert!(spare.max(pending) <= MAX_SPARE, "{spare} and {pending}");
    }

    #[test]
    fn a_destination_that_is_interrupted_or_full_for_a_moment_gets_every_byte() {
        let destination = Destination::default();
        lock(&destination.0).answers =
            [Err(ErrorKind::Interrupted), Ok(2), Err(ErrorKind::WouldBlock), Ok(1)].into();
        let output = destination.output();

        output.write(b"a line\n");

        assert_eq!(destination.text(), "a line\n");
    }

    #[test]
    fn a_line_that_a_full_disk_cut_does_not_run_into_the_next() {
        const FULL: ErrorKind = ErrorKind::StorageFull;
        let destination = Destination::default();
        lock(&destination.0).answers =
            [Ok(3), Err(FULL), Err(FULL), Ok(1), Ok(usize::MAX), Err(FULL)].into();
        let output = destination.output();

        output.write(b"cut off\n");
        output.write(b"lost\n");
        output.write(b"whole\n");
        output.write(b"lost\n");
        output.write(b"next\n");

        assert_eq!(destination.text(), "cut\nwhole\nnext\n");
    }
}
