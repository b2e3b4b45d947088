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

use crate::status;

/// Ample for the few kilobytes of a request, on any line.
const LIMIT: Duration = Duration::from_secs(10);

/// `body`, which fails when it has not come whole in time, or holds more than one message.
pub(super) fn one_message_in_time(body: Body) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(Arriving { body, limit: None, message: Message::default() })
}

struct Arriving {
    body: Body,
    /// Begins with the first wait: most messages come with their headers.
    limit: Option<Pin<Box<Sleep>>>,
    message: Message,
}

/// How much of a message has come: a byte of flags, four of length, and so many more.
#[derive(Default)]
struct Message {
    prefix: [u8; Self::PREFIX],
    read: usize,
}

impl Message {
    const PREFIX: usize = 5;

    /// Reads more of it. Says whether there is something after it.
    fn is_exceeded_by(&mut self, bytes: &[u8]) -> bool {
        for (slot, byte) in self.prefix.iter_mut().skip(self.read).zip(bytes) {
            *slot = *byte;
        }
        self.read = self.read.saturating_add(bytes.len());
        let [_, length @ ..] = self.prefix;
        let length = u32::from_be_bytes(length) as usize;
        self.read >= Self::PREFIX && self.read - Self::PREFIX > length
    }
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
                let data = frame.data_ref();
                match data.is_some_and(|data| self.message.is_exceeded_by(data)) {
                    true => Poll::Ready(Some(Err(status::more_than_one_message()))),
                    false => Poll::Ready(Some(Ok(frame))),
                }
            }
            Poll::Pending => {
                let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(LIMIT)));
                limit.as_mut().poll(context).map(|()| Some(Err(status::deadline_exceeded(false))))
            }
            ended => ended,
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
                let mut message = Message::default();

                let exceeded =
                    bytes.chunks(size).fold(false, |_, chunk| message.is_exceeded_by(chunk));

                assert_eq!(exceeded, exceeds, "{bytes:?} in pieces of {size}");
            }
        }
    }
}
