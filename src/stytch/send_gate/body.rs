//! The body of a request to Stytch, which a connection gets only if the attempt passes its gate.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::gate::Attempt;

/// The error that a connection gets in place of the body. The connection then resets the stream or
/// closes, so Stytch never receives the whole request.
#[derive(Debug, thiserror::Error)]
#[error("the call was given up before it was sent")]
pub(in crate::stytch) struct Cancelled(#[source] h2::Error);

/// The body of an attempt, possibly empty. The request counts as sent when the connection takes the
/// body, which is before the connection writes the first byte of it.
pub(in crate::stytch) struct GatedBody {
    bytes: Option<Bytes>,
    is_empty: bool,
    attempt: Attempt,
}

impl GatedBody {
    /// Creates the body of `attempt`; `None` for a request without one.
    pub(in crate::stytch) fn new(bytes: Option<Bytes>, attempt: Attempt) -> Self {
        Self { is_empty: bytes.is_none(), bytes, attempt }
    }
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = Cancelled;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cancelled>>> {
        let may_pass = match self.is_empty {
            true => self.attempt.try_pass_without_body(),
            false => self.bytes.is_none() || self.attempt.try_pass(),
        };
        if !may_pass {
            return Poll::Ready(Some(Err(Cancelled(h2::Reason::CANCEL.into()))));
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        // A connection does not poll an empty body. It calls this function after it has taken the
        // request and before it writes the head, and nobody calls it earlier; tests/it/calls.rs and
        // faults.rs hold hyper to both. The request cannot be stopped here, which is why the gate
        // knows the state *held*.
        if self.is_empty { self.attempt.try_pass_without_body() } else { self.bytes.is_none() }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

impl Drop for GatedBody {
    fn drop(&mut self) {
        if self.is_empty {
            self.attempt.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::stytch::SendGate;

    const JSON: Option<Bytes> = Some(Bytes::from_static(b"{}"));

    fn poll(body: &mut GatedBody) -> Option<Result<Frame<Bytes>, Cancelled>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => panic!("a ready body"),
        }
    }

    #[test]
    fn a_request_counts_as_sent_when_its_body_is_taken_and_not_before() {
        let gate = SendGate::default();
        let mut body = GatedBody::new(JSON, gate.begin_attempt(true).unwrap());
        assert!(!body.is_end_stream());
        assert!(!gate.is_sent());

        assert!(matches!(poll(&mut body), Some(Ok(_))));

        assert!(gate.is_sent() && gate.close());
        assert!(body.is_end_stream() && poll(&mut body).is_none());
    }

    #[test]
    fn without_a_body_it_counts_as_sent_when_the_connection_learns_so() {
        let gate = SendGate::default();
        let body = GatedBody::new(None, gate.begin_attempt(false).unwrap());
        assert!(!gate.is_sent());

        assert!(body.is_end_stream() && body.is_end_stream());

        assert!(gate.is_sent());
        drop(body);
        assert!(gate.is_sent());
    }

    #[test]
    fn a_body_that_was_given_up_is_an_error() {
        for stop in [SendGate::close, SendGate::cancel_attempt] {
            let gate = SendGate::default();
            let mut body = GatedBody::new(JSON, gate.begin_attempt(true).unwrap());

            assert!(!stop(&gate), "nothing was sent");

            assert!(matches!(poll(&mut body), Some(Err(_))));
            assert!(!body.is_end_stream() && !gate.is_sent());
        }
    }

    #[test]
    fn without_a_body_a_request_is_given_up_once_no_connection_has_it() {
        let gate = SendGate::default();
        let body = GatedBody::new(None, gate.begin_attempt(false).unwrap());
        assert!(gate.close(), "it may be sent at any moment");

        drop(body);

        assert!(!gate.close());
        assert!(gate.begin_attempt(false).is_err());
    }

    #[test]
    fn an_unprocessed_attempt_is_not_sent_and_an_earlier_sent_one_is() {
        let gate = SendGate::default();
        let first = gate.begin_attempt(true).unwrap();
        assert!(first.try_pass());
        first.mark_unprocessed();
        assert!(!gate.cancel_attempt());

        let second = gate.begin_attempt(true).unwrap();
        assert!(!first.try_pass() && second.try_pass());
        let third = gate.begin_attempt(true).unwrap();
        assert!(third.try_pass());
        third.mark_unprocessed();

        assert!(gate.close(), "the second may have been processed");
    }
}
