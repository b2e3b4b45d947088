//! Ends health watches and reflection streams, which may stay open forever, when their connection
//! closes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use crate::{
    connection::OpenStream,
    status::{Case, Failure},
};

/// Ends `body` with `UNAVAILABLE` once `closing` is cancelled, so that the client connects
/// elsewhere. The body holds `stream` until it is dropped.
pub(super) fn end_on_close(body: Body, closing: &CancellationToken, stream: OpenStream) -> Body {
    let closing = Box::pin(closing.clone().cancelled_owned());
    Body::new(ClosingBody { body, closing, state: State::Open, _stream: stream })
}

struct ClosingBody {
    body: Body,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    state: State,
    _stream: OpenStream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Ended,
}

impl HttpBody for ClosingBody {
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
        // Pending messages go out before the end, above all NOT_SERVING.
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
