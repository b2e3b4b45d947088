//! How a call ends for its caller, as metrics, traces and the access log show it.

use http::Response;
use tonic::{Code, Status};

use crate::{status::Failure, stytch::Upstream, telemetry::metrics::Outcome};

/// What a caller is answered, and what is known of its call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) code: Code,
    pub(super) failure: Option<&'a Failure>,
    pub(super) outcome: Outcome,
}

impl<'a> Answer<'a> {
    /// The answer to a request that is not gRPC.
    pub(super) const FOREIGN: Self =
        Self { code: Code::Unknown, failure: None, outcome: Outcome::NotSent };

    /// Reads the code of a response. Without one in the headers, the code is in the trailers, where
    /// it is `OK` for unary calls.
    pub(super) fn of<B>(response: &Response<B>, failure: Option<&'a Failure>) -> Self {
        let status = response.headers().get(Status::GRPC_STATUS);
        let code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
        Self::new(code, failure)
    }

    pub(super) fn new(code: Code, failure: Option<&'a Failure>) -> Self {
        let outcome = match (code, failure.map(Failure::known)) {
            (Code::Ok, _) => Outcome::Done,
            (_, Some(Upstream::NotSent)) => Outcome::NotSent,
            (_, Some(Upstream::Rejected)) => Outcome::Rejected,
            (_, Some(Upstream::Unknown) | None) => Outcome::Unknown,
        };
        Self { code, failure, outcome }
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.failure.map(Failure::reason)
    }
}
