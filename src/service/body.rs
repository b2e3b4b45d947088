//! The body of a successful response.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use tonic::{Status, body::Body};

use crate::translate::Encoded;

/// A body of one message, which is sent as it is, and the trailers of a success.
///
/// A handler puts it into the extensions of its response. The body that tonic makes would copy the
/// message, when that has long left the processor's caches.
#[derive(Clone, Debug)]
pub struct WholeBody {
    message: Option<Bytes>,
    is_complete: bool,
}

impl WholeBody {
    pub(super) fn of<T>(message: Encoded<T>) -> Self {
        Self { message: Some(message.into_frame()), is_complete: false }
    }

    /// Makes the body in the extensions of `response`, if there is one, its body.
    pub fn replace_body(mut response: Response<Body>) -> Response<Body> {
        match response.extensions_mut().remove::<Self>() {
            Some(whole) => response.map(|_| Body::new(whole)),
            None => response,
        }
    }
}

impl http_body::Body for WholeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if self.is_complete {
            return Poll::Ready(None);
        }
        self.is_complete = true;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_complete
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Body as _;
    use prost::Message as _;

    use super::*;
    use crate::proto::stytch::b2b::totp::v1::DeleteResponse;

    fn next(body: &mut Body) -> Option<Frame<Bytes>> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(body).poll_frame(&mut context) {
            Poll::Ready(frame) => frame.map(|frame| frame.expect("a frame")),
            Poll::Pending => panic!("the body waits"),
        }
    }

    #[test]
    fn the_message_is_sent_as_it_is_and_followed_by_the_status_of_a_success() {
        let message = DeleteResponse { request_id: "r".into(), ..Default::default() };
        let encoded = Encoded::<DeleteResponse>::new(&message.encode_to_vec());
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(WholeBody::of(encoded));

        let mut body = WholeBody::replace_body(response).into_body();

        let frame = next(&mut body).and_then(|frame| frame.into_data().ok()).expect("data");
        let (prefix, sent) = frame.split_at(5);
        assert_eq!(prefix, [0, 0, 0, 0, u8::try_from(sent.len()).expect("a short message")]);
        assert_eq!(DeleteResponse::decode(sent), Ok(message));
        let trailers = next(&mut body).and_then(|frame| frame.into_trailers().ok());
        assert_eq!(trailers.expect("trailers")[Status::GRPC_STATUS], "0");
        assert!(next(&mut body).is_none(), "the body goes on");
    }
}
