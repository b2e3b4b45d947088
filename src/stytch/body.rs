//! The body of a request to Stytch: it leaves only while the call has not been given up.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::sent::Attempt;

/// Why a connection gets no body. It resets the stream, or closes the connection, so that Stytch never has the
/// whole of the request.
#[derive(Debug, thiserror::Error)]
#[error("the call was given up before it was sent")]
pub(super) struct Withdrawn(#[source] h2::Error);

/// `bytes`, or nothing, as the body of `attempt`. The request counts as sent when the connection takes it, which
/// is before the first byte of it is written.
pub(super) struct GatedBody {
    bytes: Option<Bytes>,
    is_empty: bool,
    attempt: Attempt,
}

impl GatedBody {
    pub(super) fn new(bytes: Option<Bytes>, attempt: Attempt) -> Self {
        Self { is_empty: bytes.is_none(), bytes, attempt }
    }
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = Withdrawn;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Withdrawn>>> {
        let may_leave = match self.is_empty {
            true => self.attempt.take_lent(),
            false => self.bytes.is_none() || self.attempt.take(),
        };
        if !may_leave {
            return Poll::Ready(Some(Err(Withdrawn(h2::Reason::CANCEL.into()))));
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        // A connection does not poll an empty body. It asks this, once it has taken the request and before
        // it writes the head, and nobody asks earlier; tests/it/calls.rs and faults.rs hold hyper to both.
        // There is no way to stop it here, which is why such a request is lent.
        if self.is_empty { self.attempt.take_lent() } else { self.bytes.is_none() }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

impl Drop for GatedBody {
    fn drop(&mut self) {
        if self.is_empty {
            self.attempt.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::stytch::Sent;

    const JSON: Option<Bytes> = Some(Bytes::from_static(b"{}"));

    fn poll(body: &mut GatedBody) -> Option<Result<Frame<Bytes>, Withdrawn>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => panic!("it is there"),
        }
    }

    #[test]
    fn a_request_counts_as_sent_when_its_body_is_taken_and_not_before() {
        let sent = Sent::default();
        let mut body = GatedBody::new(JSON, sent.begin(true).unwrap());
        assert!(!body.is_end_stream());
        assert!(!sent.has_left());

        assert!(matches!(poll(&mut body), Some(Ok(_))));

        assert!(sent.has_left() && sent.give_up());
        assert!(body.is_end_stream() && poll(&mut body).is_none());
    }

    #[test]
    fn without_a_body_it_counts_as_sent_when_the_connection_learns_so() {
        let sent = Sent::default();
        let body = GatedBody::new(None, sent.begin(false).unwrap());
        assert!(!sent.has_left());

        assert!(body.is_end_stream() && body.is_end_stream());

        assert!(sent.has_left());
        drop(body);
        assert!(sent.has_left());
    }

    #[test]
    fn a_body_that_was_given_up_is_an_error() {
        for give_up in [Sent::give_up, Sent::abandon] {
            let sent = Sent::default();
            let mut body = GatedBody::new(JSON, sent.begin(true).unwrap());

            assert!(!give_up(&sent), "nothing was sent");

            assert!(matches!(poll(&mut body), Some(Err(_))));
            assert!(!body.is_end_stream() && !sent.has_left());
        }
    }

    #[test]
    fn without_a_body_a_request_is_given_up_once_no_connection_has_it() {
        let sent = Sent::default();
        let body = GatedBody::new(None, sent.begin(false).unwrap());
        assert!(sent.give_up(), "it may leave at any moment");

        drop(body);

        assert!(!sent.give_up());
        assert!(sent.begin(false).is_err());
    }

    #[test]
    fn what_was_not_processed_is_not_sent_and_what_was_sent_before_it_is() {
        let sent = Sent::default();
        let first = sent.begin(true).unwrap();
        assert!(first.take());
        first.was_not_processed();
        assert!(!sent.abandon());

        let second = sent.begin(true).unwrap();
        assert!(!first.take() && second.take());
        let third = sent.begin(true).unwrap();
        assert!(third.take());
        third.was_not_processed();

        assert!(sent.give_up(), "the second may have been processed");
    }
}
