//! Streams that have no end of their own, as an open `Health.Watch`: they end when their connection closes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use crate::{
    connection::Watch,
    status::{Case, Failure},
};

/// `body`, ended with `UNAVAILABLE` once `closing` is cancelled, so that a watcher goes elsewhere. It counts as
/// `watch` as long as it lasts.
pub(super) fn ended_by(closing: &CancellationToken, body: Body, watch: Watch) -> Body {
    let closing = Box::pin(closing.clone().cancelled_owned());
    Body::new(EndedBody { body, closing, state: State::Open, _watch: watch })
}

struct EndedBody {
    body: Body,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    state: State,
    _watch: Watch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Ended,
}

impl HttpBody for EndedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.state == State::Ended {
            return Poll::Ready(None);
        }
        if self.state == State::Open && self.closing.as_mut().poll(context).is_ready() {
            self.state = State::Closing;
        }
        // What the stream has to say, its NOT_SERVING above all, goes out before the end.
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.state == State::Closing => {}
            polled => return polled,
        }
        self.state = State::Ended;
        let mut trailers = http::HeaderMap::new();
        Status::from(Failure::from(Case::ServerClosing)).add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended || self.body.is_end_stream()
    }
}
