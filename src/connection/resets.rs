//! Counts the streams that are reset on a connection, in either direction.
//!
//! h2 counts them too, and closes the connection at its limit, with every call on it, although
//! behind a proxy they may be other callers' calls. So h2's limits are set out of the way, and a
//! connection with too many resets closes gracefully. A fault of one stream ends that stream alone.
//!
//! One of h2's limits cannot be turned off: streams that are reset before they are accepted take
//! memory. So a connection reads only so many resets in one poll, and by its next poll h2 has
//! accepted or dropped all streams that it has seen.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::slots::Activity;

/// The stream resets allowed on a connection, in addition to ten for each call forwarded to Stytch.
const ALLOWED: u64 = 50;
/// The same for a connection from a listed proxy, which many callers share.
const ALLOWED_FOR_PROXIES: u64 = 10 * ALLOWED;

/// The most streams that can have been reset before they are accepted:
///
/// - those of the reads of one poll, and those of the read that reaches its limit. It may hold
///   nothing but resets, of streams that earlier reads of the poll opened;
/// - those of the last read of the poll before, which h2 may leave unseen while it cannot write.
///   The read opened them itself, since h2 had accepted all that it had seen.
pub(crate) const MAX_PENDING_RESETS: usize = MAX_RESETS_PER_POLL
    + MAX_READ / (HEADER_LEN + CODE_LEN)
    + MAX_READ / (HEADER_LEN + HEADER_LEN + CODE_LEN);
const MAX_RESETS_PER_POLL: usize = 64;
const MAX_READ: usize = 8 * 1024;

/// The length of the client connection preface, which precedes the first frame.
const PREFACE_LEN: usize = 24;
/// The length of a frame header.
const HEADER_LEN: usize = 9;
const RST_STREAM: u8 = 3;
/// The length of the error code, which is the payload of an `RST_STREAM` frame.
const CODE_LEN: usize = 4;

/// The bytes of an HTTP/2 connection, with a count of the stream resets in them.
pub(crate) struct CountResets<T> {
    stream: T,
    activity: Arc<Activity>,
    allowed: u64,
    received: Frames,
    sent: Frames,
}

impl<T> CountResets<T> {
    pub(crate) fn new(stream: T, activity: Arc<Activity>, is_proxy: bool) -> Self {
        let allowed = if is_proxy { ALLOWED_FOR_PROXIES } else { ALLOWED };
        Self {
            stream,
            activity,
            allowed,
            received: Frames::after(PREFACE_LEN),
            sent: Frames::after(0),
        }
    }

    /// Reads at most [`MAX_READ`] bytes.
    fn read_limited(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>
    where
        T: AsyncRead + Unpin,
    {
        let stream = Pin::new(&mut self.stream);
        // The usual case: only a part of a larger buffer has to be initialized first.
        if buffer.remaining() <= MAX_READ {
            return stream.poll_read(context, buffer);
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(MAX_READ));
        ready!(stream.poll_read(context, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }

    fn count(&self, resets: u64) {
        if resets > 0 {
            self.activity.count_resets(resets, self.allowed);
        }
    }
}

/// A parser for the frames of one direction, however the bytes are split.
#[derive(Debug)]
struct Frames {
    /// Bytes before the next frame header.
    skip: usize,
    header: [u8; HEADER_LEN],
    filled: usize,
    /// Inside an `RST_STREAM` frame, its error code so far and how many bytes of it have been read.
    code: Option<(u32, usize)>,
}

impl Frames {
    fn after(skip: usize) -> Self {
        Self { skip, header: [0; HEADER_LEN], filled: 0, code: None }
    }

    /// Parses the next bytes of the direction. Returns how many streams they reset with an error
    /// code that `counts`.
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
                let taken = (HEADER_LEN - self.filled).min(bytes.len());
                self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                bytes = &bytes[taken..];
                if self.filled == HEADER_LEN {
                    let [a, b, c, kind, ..] = self.header;
                    self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                    self.filled = 0;
                    self.code = (kind == RST_STREAM && self.skip == CODE_LEN).then_some((0, 0));
                }
            }
            if let Some((code, CODE_LEN)) = self.code {
                self.code = None;
                resets += u64::from(counts(code));
            }
        }
        resets
    }
}

/// Counts any reset by the client, whatever error code it gives.
fn any(_: u32) -> bool {
    true
}

/// Counts the resets by this side that are the client's fault: not `NO_ERROR`, sent when the
/// response is complete before the request, nor `INTERNAL_ERROR` and `CANCEL`, which are failures
/// of this side.
fn client_fault(code: u32) -> bool {
    !matches!(code, 0 | 2 | 8)
}

impl<T: AsyncRead + Unpin> AsyncRead for CountResets<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.activity.resets_in_poll() >= MAX_RESETS_PER_POLL as u64 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(self.read_limited(context, buffer))?;
        let resets = self.received.resets(&buffer.filled()[before..], any);
        self.count(resets);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for CountResets<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        let resets = self.sent.resets(&bytes[..written], client_fault);
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
            resets += self.sent.resets(&slice[..taken], client_fault);
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
            // A DATA payload that looks like a reset.
            frame(0, &frame(RST_STREAM, &protocol_error)),
            frame(RST_STREAM, &[0; 4]),
            frame(RST_STREAM, b"odd length"),
            frame(RST_STREAM, &8_u32.to_be_bytes()),
        ]
        .concat();

        for size in [1, 2, 3, 7, 9, 13, 1000] {
            let count = |counts: fn(u32) -> bool| {
                let mut frames = Frames::after(PREFACE_LEN);
                bytes.chunks(size).map(|chunk| frames.resets(chunk, counts)).sum::<u64>()
            };

            assert_eq!((count(any), count(client_fault)), (3, 1), "in chunks of {size}");
        }
    }
}
