//! The end of the server: what to tell whom, in which order.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::watch;
use tonic::{Status, body::Body};

use super::slots::Watch;

/// Tells open streams that the server closes. Clones hear the same.
#[derive(Clone, Debug)]
pub(super) struct Closing(watch::Receiver<bool>);

/// The other end of [`Closing`].
#[derive(Debug)]
pub(super) struct Close(watch::Sender<bool>);

impl Close {
    pub(super) fn new() -> (Self, Closing) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Closing(receiver))
    }

    pub(super) fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Closing {
    pub(super) async fn wait(mut self) {
        // An error means that the server is gone, which is closed enough.
        let _ = self.0.wait_for(|closing| *closing).await;
    }

    /// `body`, ended with `UNAVAILABLE` when the server closes, so that a watcher goes elsewhere. It counts as
    /// `watch` as long as it lasts.
    pub(super) fn ends(&self, body: Body, watch: Option<Watch>) -> Body {
        let closing = Box::pin(self.clone().wait());
        Body::new(EndedBody { body, closing, state: State::Open, _watch: watch })
    }
}

struct EndedBody {
    body: Body,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    state: State,
    _watch: Option<Watch>,
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
        Status::unavailable("the server is closing").add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended || self.body.is_end_stream()
    }
}
