//! Failures of calls that the client's gRPC library has retried.
//!
//! Such a library shows its caller only the last attempt. If nothing was sent in that attempt, or
//! Stytch refused it, an earlier attempt may still have taken effect. So the failure must not claim
//! the opposite about the call.

use http::HeaderMap;

use super::{
    failure::{Failure, Form, Parts},
    table::Case,
};
use crate::{
    proto::metadata::{IDEMPOTENCY_KEY, PREVIOUS_ATTEMPTS},
    stytch::Upstream,
};

/// A call that its client library has made before.
#[derive(Clone, Copy, Debug)]
pub struct Retried {
    has_key: bool,
}

impl Retried {
    /// Returns `None` if the headers are those of a first attempt.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::without_key(headers).map(|_| Self { has_key: headers.contains_key(IDEMPOTENCY_KEY) })
    }

    /// Does the same for a call that ignores an idempotency key.
    pub fn without_key(headers: &HeaderMap) -> Option<Self> {
        let attempts = headers.get(PREVIOUS_ATTEMPTS)?.to_str().ok()?.parse::<u64>().ok()?;
        (attempts > 0).then_some(Self { has_key: false })
    }

    /// Returns the failure without its claims about earlier attempts, or `None` if it makes none
    /// that are not known to be true.
    pub fn qualify(self, failure: &Failure) -> Option<Failure> {
        match failure.form() {
            Form::Made { parts, .. } if !self.is_of_all_attempts(parts) => {
                Some(failure.clone().of_unknown_outcome())
            }
            // A record covers all attempts with its key.
            Form::Made { .. } | Form::Recorded { .. } => None,
        }
    }

    /// Whether what the failure says about this attempt is true of all attempts.
    fn is_of_all_attempts(self, failure: &Parts) -> bool {
        match failure.case {
            // These are true of the request itself, so of each attempt.
            Case::InvalidRequest | Case::Malformed | Case::TooLarge | Case::Unimplemented => true,
            // With a key, the store was consulted first: no earlier attempt was made, or this is
            // its outcome.
            Case::Unreachable | Case::CircuitOpen | Case::KeyReused if self.has_key => true,
            _ => match failure.upstream {
                Upstream::Unknown => true,
                Upstream::Rejected => self.has_key,
                Upstream::NotSent => false,
            },
        }
    }
}
