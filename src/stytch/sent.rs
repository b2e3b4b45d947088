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
/// The flag rises when the connection takes the body, which is before the first byte is written: while
/// it is down, provably nothing was sent that Stytch could act on.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<AtomicBool>);

impl Sent {
    /// Whether the request may have reached Stytch.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// `bytes` as a request body that raises the flag when the connection takes it.
    pub(super) fn body(&self, bytes: Bytes) -> impl Body<Data = Bytes, Error = Infallible> + use<> {
        MarkedBody { bytes: Some(bytes), sent: self.clone() }
    }
}

struct MarkedBody {
    bytes: Option<Bytes>,
    sent: Sent,
}

impl Body for MarkedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.sent.0.store(true, Ordering::Release);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
