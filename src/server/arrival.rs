//! Limits on how a request body arrives: in time, and with one message for a unary call.
//!
//! A call holds its permit as soon as its headers arrive. Without a time limit, a call without a
//! deadline whose message never completes would hold it forever. And tonic ignores what follows
//! the first message of a unary call.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use crate::status::{Case, Failure};

/// How long a message may take to arrive. Ample for a few kilobytes on any network.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits the body of a unary call: it fails if it is incomplete after [`MESSAGE_TIMEOUT`], or has
/// more than one message.
pub(super) fn single_message(body: Body) -> Body {
    limit(body, Messages::One(Framing::default()))
}

/// Limits the body of a stream: it fails if a message is incomplete [`MESSAGE_TIMEOUT`] after its
/// start.
pub(super) fn messages(body: Body) -> Body {
    limit(body, Messages::Many(Framing::default()))
}

fn limit(body: Body, messages: Messages) -> Body {
    match body.is_end_stream() {
        true => body,
        false => Body::new(LimitedBody { body, timeout: None, messages }),
    }
}

struct LimitedBody {
    body: Body,
    /// Starts with the first wait: most messages arrive together with their headers.
    timeout: Option<Pin<Box<Sleep>>>,
    messages: Messages,
}

/// How many messages a body may have, with the state of the current one.
enum Messages {
    One(Framing),
    Many(Framing),
}

impl Messages {
    /// Reads more of the body. Returns whether the body may contain it.
    fn read(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::One(message) => message.read(bytes).is_empty(),
            Self::Many(message) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    rest = message.read(rest);
                    if message.is_complete() {
                        *message = Framing::default();
                    }
                }
                true
            }
        }
    }

    /// Whether the time limit applies to the rest of the body.
    fn is_due(&self) -> bool {
        match self {
            Self::One(_) => true,
            Self::Many(message) => message.read > 0,
        }
    }
}

/// The progress of one length-prefixed message: a byte of flags, four of length, the message.
#[derive(Default)]
struct Framing {
    prefix: [u8; Self::PREFIX],
    read: usize,
}

impl Framing {
    const PREFIX: usize = 5;

    /// Reads more of the message. Returns the bytes that follow it.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (prefix, rest) =
            bytes.split_at((Self::PREFIX.saturating_sub(self.read)).min(bytes.len()));
        for (slot, byte) in self.prefix.iter_mut().skip(self.read).zip(prefix) {
            *slot = *byte;
        }
        self.read += prefix.len();
        let (message, rest) = rest.split_at(self.left().min(rest.len()));
        self.read += message.len();
        rest
    }

    /// Returns how many bytes of the message are missing, once its prefix is complete.
    fn left(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        match self.read.checked_sub(Self::PREFIX) {
            Some(read) => (u32::from_be_bytes(length) as usize).saturating_sub(read),
            None => 0,
        }
    }

    fn is_complete(&self) -> bool {
        self.read >= Self::PREFIX && self.left() == 0
    }
}

fn more_than_one_message() -> Failure {
    Failure::from(Case::Malformed)
        .saying("a unary call takes one message, and the request contains more")
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let is_allowed = frame.data_ref().is_none_or(|data| self.messages.read(data));
                if !self.messages.is_due() {
                    self.timeout = None;
                }
                match is_allowed {
                    true => Poll::Ready(Some(Ok(frame))),
                    false => Poll::Ready(Some(Err(more_than_one_message().into()))),
                }
            }
            Poll::Pending if self.messages.is_due() => {
                let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(MESSAGE_TIMEOUT)));
                timeout
                    .as_mut()
                    .poll(context)
                    .map(|()| Some(Err(Failure::deadline_exceeded(false).into())))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;
    use tonic::Code;

    use super::*;

    /// Sends `frames` frames, each after `pause`, and then nothing more.
    struct Dripping {
        frames: usize,
        pause: Duration,
        next: Pin<Box<Sleep>>,
    }

    impl HttpBody for Dripping {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            if self.frames == 0 || self.next.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.frames -= 1;
            let next = Instant::now() + self.pause;
            self.next.as_mut().reset(next);
            // A message that announces more bytes than ever arrive.
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_drips_or_never_arrives_fails_at_the_time_limit() {
        for frames in [0, 1, 1000] {
            let pause = Duration::from_millis(700);
            let body = Body::new(Dripping { frames, pause, next: Box::pin(sleep(pause)) });
            let mut body = single_message(body);
            let start = Instant::now();

            let error = loop {
                match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("the body never ends"),
                }
            };

            assert_eq!(error.code(), Code::DeadlineExceeded, "{frames}");
            assert_eq!(start.elapsed(), MESSAGE_TIMEOUT, "{frames}");
        }
    }

    #[test]
    fn the_time_limit_applies_only_to_a_started_message_of_a_stream() {
        for size in [1, 3, 5, 6, 100] {
            let mut message = Messages::Many(Framing::default());
            assert!(!message.is_due(), "nothing has begun");

            for (bytes, is_due) in [
                (&b"\0\0\0\0\x03abc"[..], false),
                (b"\0\0\0\0\0\0\0\0\0\x01a", false),
                (b"\0", true),
                (b"\0\0\0\x02a", true),
                (b"b", false),
            ] {
                assert!(bytes.chunks(size).all(|chunk| message.read(chunk)));

                assert_eq!(message.is_due(), is_due, "{bytes:?} in chunks of {size}");
            }
        }
    }

    #[test]
    fn a_second_message_is_found_however_the_bytes_are_cut() {
        let one = b"\0\0\0\0\x03abc";
        for (bytes, exceeds) in [
            (&one[..], false),
            (&one[..6], false),
            (b"", false),
            (b"\0\0\0\0\0", false),
            (b"\0\0\0\0\0\0", true),
            (&[&one[..], one].concat(), true),
            (&[&one[..], b"\0"].concat(), true),
        ] {
            for size in [1, 2, 4, 5, 7, 100] {
                let mut message = Messages::One(Framing::default());

                let exceeded = bytes.chunks(size).any(|chunk| !message.read(chunk));

                assert_eq!(exceeded, exceeds, "{bytes:?} in chunks of {size}");
            }
        }
    }
}
