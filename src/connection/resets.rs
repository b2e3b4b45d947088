//! Counts the streams that are reset on a connection, in either direction.
//!
//! HTTP/2's implementation counts them too, and at its limit cuts the connection with every call on it, of whichever
//! caller behind a proxy. So its limits are set out of the way, and a connection on which too many streams are reset
//! ends gracefully. What one stream does wrong ends that stream alone.
//!
//! One limit cannot be off: streams that are reset before anybody has looked at them take memory. So only so many are
//! read in one turn of the connection, and the next turn begins when all of them have been looked at.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::slots::Activity;

/// How many streams may be reset on a connection, beside ten for each call of use.
const ALLOWED: u64 = 50;
/// The same where the peer is a listed proxy, on whose connections many callers meet.
const ALLOWED_FOR_PROXIES: u64 = 10 * ALLOWED;

/// How many streams may have been reset before anybody has looked at them: those of a turn, and the read that
/// reaches its limit. A stream and its reset take at least 25 bytes.
pub(crate) const MAX_UNSEEN_RESETS: usize = 512;
const RESETS_A_TURN: u64 = 64;
const READ: usize = 8 * 1024;

/// What a client of HTTP/2 sends before its first frame.
const PREFACE: usize = 24;
const HEADER: usize = 9;
const RST_STREAM: u8 = 3;

/// A stream of HTTP/2 whose resets are counted.
pub(crate) struct Counted<T> {
    stream: T,
    activity: Arc<Activity>,
    allowed: u64,
    received: Frames,
    sent: Frames,
}

impl<T> Counted<T> {
    pub(crate) fn new(stream: T, activity: Arc<Activity>, is_proxy: bool) -> Self {
        let allowed = if is_proxy { ALLOWED_FOR_PROXIES } else { ALLOWED };
        Self { stream, activity, allowed, received: Frames::after(PREFACE), sent: Frames::after(0) }
    }

    fn count(&self, resets: u64) {
        if resets > 0 {
            self.activity.reset(resets, self.allowed);
        }
    }
}

/// Where a direction stands among its frames.
#[derive(Debug)]
struct Frames {
    /// Bytes before the next header.
    skip: usize,
    header: [u8; HEADER],
    filled: usize,
    /// What is known of an `RST_STREAM` of which this many bytes of the error code have come.
    code: Option<(u32, usize)>,
}

impl Frames {
    fn after(skip: usize) -> Self {
        Self { skip, header: [0; HEADER], filled: 0, code: None }
    }

    /// How many streams `bytes`, the next of their direction, reset for a reason that `counts`.
    fn resets(&mut self, mut bytes: &[u8], counts: fn(u32) -> bool) -> u64 {
        let mut resets = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                if let Some((code, have)) = self.code {
                    let read = &bytes[..skipped];
                    let code = read.iter().fold(code, |code, byte| code << 8 | u32::from(*byte));
                    self.code = Some((code, have + skipped));
                }
                self.skip -= skipped;
                bytes = &bytes[skipped..];
            } else {
                let taken = (HEADER - self.filled).min(bytes.len());
                self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                bytes = &bytes[taken..];
                if self.filled == HEADER {
                    let [a, b, c, kind, ..] = self.header;
                    self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                    self.filled = 0;
                    self.code = (kind == RST_STREAM && self.skip == 4).then_some((0, 0));
                }
            }
            if let Some((code, 4)) = self.code {
                self.code = None;
                resets += u64::from(counts(code));
            }
        }
        resets
    }
}

/// A client that resets a stream is no longer interested in it, whatever it says.
fn any(_: u32) -> bool {
    true
}

/// Of the streams that this side resets, those whose client is at fault: not what has been answered before its
/// request was whole (`NO_ERROR`), nor what failed here (`INTERNAL_ERROR`, `CANCEL`).
fn at_fault(code: u32) -> bool {
    !matches!(code, 0 | 2 | 8)
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.activity.resets_of_turn() >= RESETS_A_TURN {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Read into the buffer itself, but no more of it.
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(READ.min(buffer.remaining())));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut part))?;
        let read = part.filled().len();
        let resets = self.received.resets(part.filled(), any);
        buffer.advance(read);
        self.count(resets);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        let resets = self.sent.resets(&bytes[..written], at_fault);
        self.count(resets);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        let (mut left, mut resets) = (written, 0);
        for slice in slices {
            let taken = left.min(slice.len());
            resets += self.sent.resets(&slice[..taken], at_fault);
            left -= taken;
        }
        self.count(resets);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn resets_are_found_among_other_frames_however_the_bytes_are_cut() {
        let protocol_error = 1_u32.to_be_bytes();
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, b""),
            frame(RST_STREAM, &protocol_error),
            // A payload that looks like a reset.
            frame(0, &frame(RST_STREAM, &protocol_error)),
            frame(RST_STREAM, &[0; 4]),
            frame(RST_STREAM, b"odd length"),
            frame(RST_STREAM, &8_u32.to_be_bytes()),
        ]
        .concat();

        for size in [1, 2, 3, 7, 9, 13, 1000] {
            let count = |counts: fn(u32) -> bool| {
                let mut frames = Frames::after(PREFACE);
                bytes.chunks(size).map(|chunk| frames.resets(chunk, counts)).sum::<u64>()
            };

            assert_eq!((count(any), count(at_fault)), (3, 1), "in pieces of {size}");
        }
    }
}
