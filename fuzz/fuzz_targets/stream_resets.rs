//! The bytes of an HTTP/2 connection, in pieces of any size, in either direction: they arrive as
//! they are, the resets in them are those of an independent reading, and no poll of the connection
//! reads more of them than h2 permits.
#![no_main]

#[path = "../src/cuts.rs"]
mod cuts;
#[path = "../../src/connection/resets.rs"]
mod resets;

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use resets::{CountResets, MAX_PENDING_RESETS};
use slots::Activity;

/// In place of the service's own, which closes connections.
mod slots {
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    pub struct Activity {
        resets: AtomicU64,
        in_poll: AtomicU64,
    }

    impl Activity {
        pub fn count_resets(&self, streams: u64, _allowed: u64) {
            self.resets.fetch_add(streams, Ordering::Relaxed);
            self.in_poll.fetch_add(streams, Ordering::Relaxed);
        }

        pub fn resets_in_poll(&self) -> u64 {
            self.in_poll.load(Ordering::Relaxed)
        }

        pub fn begin_poll(&self) {
            self.in_poll.store(0, Ordering::Relaxed);
        }

        pub fn resets(&self) -> u64 {
            self.resets.load(Ordering::Relaxed)
        }
    }
}

/// Gives the pieces to who reads, and takes as much as they hold from who writes.
struct Wire<'a> {
    pieces: VecDeque<&'a [u8]>,
    written: &'a mut Vec<u8>,
}

impl<'a> Wire<'a> {
    fn new(pieces: &[&'a [u8]], written: &'a mut Vec<u8>) -> Self {
        let pieces = pieces.iter().copied().filter(|piece| !piece.is_empty()).collect();
        Self { pieces, written }
    }

    fn take(&mut self, most: usize) -> &'a [u8] {
        let Some(piece) = self.pieces.pop_front() else { return &[] };
        let (taken, rest) = piece.split_at(most.min(piece.len()));
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        taken
    }
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buffer.put_slice(self.take(buffer.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = self.take(bytes.len()).len();
        self.written.extend(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(context, &bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Returns the error codes of the resets in the frames of one direction.
fn codes(mut frames: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = frames {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((payload, next)) = rest.split_at_checked(length) else { break };
        if let (3, Ok(code)) = (kind, payload.try_into()) {
            codes.push(u32::from_be_bytes(code));
        }
        frames = next;
    }
    codes
}

/// Reads all bytes in polls of the connection that are as long as they can be, into buffers of this
/// size.
fn check_read(bytes: &[u8], pieces: &[&[u8]], size: usize) {
    let activity = Arc::new(Activity::default());
    let mut written = Vec::new();
    let wire = Wire::new(pieces, &mut written);
    let mut stream = CountResets::new(wire, Arc::clone(&activity), false);
    let mut context = Context::from_waker(Waker::noop());
    let (mut space, mut read) = (vec![0; size], Vec::<u8>::new());
    loop {
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
            Poll::Pending => activity.begin_poll(),
            Poll::Ready(result) => {
                result.expect("a read");
                if buffer.filled().is_empty() {
                    break;
                }
                read.extend(buffer.filled());
            }
        }
        let in_poll = activity.resets_in_poll();
        assert!(in_poll <= MAX_PENDING_RESETS as u64, "{in_poll} resets in one poll");
    }
    assert_eq!(read, bytes);
    let resets = codes(bytes.get(24..).unwrap_or_default()).len();
    assert_eq!(activity.resets(), resets as u64);
}

/// Writes all bytes, in writes of at most `size` bytes, or from slices of that size.
fn check_write(bytes: &[u8], pieces: &[&[u8]], size: usize, is_vectored: bool) {
    let activity = Arc::new(Activity::default());
    let mut sink = Vec::new();
    let wire = Wire::new(pieces, &mut sink);
    let mut stream = CountResets::new(wire, Arc::clone(&activity), false);
    let mut context = Context::from_waker(Waker::noop());
    let mut written = 0;
    while written < bytes.len() {
        let mut parts = bytes[written..].chunks(size);
        let polled = match is_vectored {
            false => Pin::new(&mut stream).poll_write(&mut context, parts.next().expect("a part")),
            true => {
                let slices: Vec<_> = parts.map(IoSlice::new).collect();
                Pin::new(&mut stream).poll_write_vectored(&mut context, &slices)
            }
        };
        let Poll::Ready(Ok(taken)) = polled else { panic!("the wire takes bytes") };
        written += taken;
    }
    drop(stream);
    assert_eq!(sink, bytes);
    let faults = codes(bytes).into_iter().filter(|code| ![0, 2, 8].contains(code)).count();
    assert_eq!(activity.resets(), faults as u64);
}

fuzz_target!(|input: &[u8]| {
    let Some((sizes, bytes)) = cuts::split(input) else { return };
    let pieces = cuts::cut(&sizes, bytes);
    let size = 1 + sizes.first().copied().unwrap_or(40_000);
    check_read(bytes, &pieces, size);
    check_read(bytes, &pieces, 64 * 1024);
    check_write(bytes, &pieces, size, false);
    check_write(bytes, &pieces, size, true);
});
