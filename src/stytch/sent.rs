//! Whether a request has left the process.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Tells the client and whoever waits for it whether the request may have reached Stytch. Clones
/// share one flag.
///
/// The flag rises when the connection takes the body, or learns that there is none, which is before the
/// first byte is written: while it is down, provably nothing was sent that Stytch could act on.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<AtomicBool>);

impl Sent {
    /// Whether the request may have reached Stytch.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Says so.
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// `bytes`, or nothing, as a request body that raises the flag when the connection takes it.
    pub(super) fn body(
        &self,
        bytes: Option<Bytes>,
    ) -> impl Body<Data = Bytes, Error = Infallible> + use<> {
        MarkedBody { is_empty: bytes.is_none(), bytes, sent: self.clone() }
    }
}

struct MarkedBody {
    bytes: Option<Bytes>,
    is_empty: bool,
    sent: Sent,
}

impl Body for MarkedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.sent.raise();
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        // A connection does not poll an empty body. It asks this, once it has taken the request and before
        // it writes the head, and nobody asks earlier; tests/it/calls.rs and faults.rs hold hyper to both.
        if self.is_empty {
            self.sent.raise();
        }
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn the_flag_rises_when_the_body_is_taken_and_not_before() {
        let sent = Sent::default();
        let mut body = Box::pin(sent.body(Some(Bytes::from_static(b"{}"))));
        assert!(!sent.get());

        let taken = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()));

        assert!(matches!(taken, Poll::Ready(Some(Ok(_)))));
        assert!(sent.get());
    }

    #[test]
    fn without_a_body_the_flag_rises_when_the_connection_learns_so() {
        let sent = Sent::default();
        let body = sent.body(None);
        assert!(!sent.get());

        assert!(body.is_end_stream());

        assert!(sent.get());
    }
}
