//! How long a request may take to arrive.
//!
//! A call has its place from its headers on, and without a deadline a message that never comes whole would hold
//! that place for ever.

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

/// `body`, which fails when it has not come whole in time.
pub(super) fn in_time(body: Body) -> Body {
    if body.is_end_stream() { body } else { Body::new(Arriving { body, limit: None }) }
}

struct Arriving {
    body: Body,
    /// Begins with the first wait: most messages come with their headers.
    limit: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            return polled;
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(LIMIT)));
        limit.as_mut().poll(context).map(|()| Some(Err(status::deadline_exceeded(false))))
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
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_drips_or_never_comes_is_given_up_at_the_limit() {
        for frames in [0, 1, 1000] {
            let pause = Duration::from_millis(700);
            let body = Body::new(Dripping { frames, pause, next: Box::pin(sleep(pause)) });
            let mut body = in_time(body);
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
}
