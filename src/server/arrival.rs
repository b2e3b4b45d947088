//! How a request arrives: as one message, and in time.
//!
//! A call has its permit from its headers on, and without a deadline a message that never comes whole would hold
//! that permit for ever. tonic reads the first message of a unary call and ignores those that follow.

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

/// Ample for the few kilobytes of a request, on any line.
const LIMIT: Duration = Duration::from_secs(10);

/// The body of a unary call, which fails when it has not come whole in time, or holds more than one message.
pub(super) fn one_message_in_time(body: Body) -> Body {
    in_time(body, Message::Only(Prefix::default()))
}

/// The body of a stream, which fails when a message that has begun has not come whole in time.
pub(super) fn messages_in_time(body: Body) -> Body {
    in_time(body, Message::OneOfMany(Prefix::default()))
}

fn in_time(body: Body, message: Message) -> Body {
    if body.is_end_stream() { body } else { Body::new(Arriving { body, limit: None, message }) }
}

struct Arriving {
    body: Body,
    /// Begins with the first wait: most messages come with their headers.
    limit: Option<Pin<Box<Sleep>>>,
    message: Message,
}

/// The message that arrives.
enum Message {
    Only(Prefix),
    OneOfMany(Prefix),
}

impl Message {
    /// Reads more. Says whether that may be there.
    fn read(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Only(message) => message.read(bytes).is_empty(),
            Self::OneOfMany(message) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    rest = message.read(rest);
                    if message.is_whole() {
                        *message = Prefix::default();
                    }
                }
                true
            }
        }
    }

    /// Whether there is more to come that has to come in time.
    fn is_due(&self) -> bool {
        match self {
            Self::Only(_) => true,
            Self::OneOfMany(message) => message.read > 0,
        }
    }
}

/// How much of a message has come: a byte of flags, four of length, and so many more.
#[derive(Default)]
struct Prefix {
    bytes: [u8; Self::SIZE],
    read: usize,
}

impl Prefix {
    const SIZE: usize = 5;

    /// Reads more of it, and returns what follows it.
    fn read<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (prefix, rest) =
            bytes.split_at((Self::SIZE.saturating_sub(self.read)).min(bytes.len()));
        for (slot, byte) in self.bytes.iter_mut().skip(self.read).zip(prefix) {
            *slot = *byte;
        }
        self.read += prefix.len();
        let (message, rest) = rest.split_at(self.left().min(rest.len()));
        self.read += message.len();
        rest
    }

    /// How much of the message is to come after its prefix.
    fn left(&self) -> usize {
        let [_, length @ ..] = self.bytes;
        match self.read.checked_sub(Self::SIZE) {
            Some(read) => (u32::from_be_bytes(length) as usize).saturating_sub(read),
            None => 0,
        }
    }

    fn is_whole(&self) -> bool {
        self.read >= Self::SIZE && self.left() == 0
    }
}

fn more_than_one_message() -> Failure {
    Failure::from(Case::Malformed).saying("the call takes one message, and there is more than one")
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let may_be_there = frame.data_ref().is_none_or(|data| self.message.read(data));
                if !self.message.is_due() {
                    self.limit = None;
                }
                match may_be_there {
                    true => Poll::Ready(Some(Ok(frame))),
                    false => Poll::Ready(Some(Err(more_than_one_message().into()))),
                }
            }
            Poll::Pending if self.message.is_due() => {
                let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(LIMIT)));
                limit
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
            // Of a message that is longer than what comes of it.
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_drips_or_never_comes_is_given_up_at_the_limit() {
        for frames in [0, 1, 1000] {
            let pause = Duration::from_millis(700);
            let body = Body::new(Dripping { frames, pause, next: Box::pin(sleep(pause)) });
            let mut body = one_message_in_time(body);
            let start = Instant::now();

            let error = loop {
                match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("it has no end"),
                }
            };

            assert_eq!(error.code(), Code::DeadlineExceeded, "{frames}");
            assert_eq!(start.elapsed(), LIMIT, "{frames}");
        }
    }

    #[test]
    fn of_a_stream_only_a_message_that_has_begun_is_due() {
        for size in [1, 3, 5, 6, 100] {
            let mut message = Message::OneOfMany(Prefix::default());
            assert!(!message.is_due(), "nothing has begun");

            for (bytes, is_due) in [
                (&b"\0\0\0\0\x03abc"[..], false),
                (b"\0\0\0\0\0\0\0\0\0\x01a", false),
                (b"\0", true),
                (b"\0\0\0\x02a", true),
                (b"b", false),
            ] {
                assert!(bytes.chunks(size).all(|chunk| message.read(chunk)));

                assert_eq!(message.is_due(), is_due, "{bytes:?} in pieces of {size}");
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
                let mut message = Message::Only(Prefix::default());

                let exceeded = bytes.chunks(size).any(|chunk| !message.read(chunk));

                assert_eq!(exceeded, exceeds, "{bytes:?} in pieces of {size}");
            }
        }
    }
}
