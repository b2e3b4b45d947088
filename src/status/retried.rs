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
    proto::{
        Rpc,
        metadata::{IDEMPOTENCY_KEY, PREVIOUS_ATTEMPTS},
    },
    stytch::Upstream,
};

/// A call that its client library has made before.
#[derive(Clone, Copy, Debug)]
pub struct Retried {
    has_key: bool,
}

impl Retried {
    /// Returns `None` if the headers of a call to `rpc` are those of a first attempt.
    pub fn of(rpc: Rpc, headers: &HeaderMap) -> Option<Self> {
        let attempts = headers.get(PREVIOUS_ATTEMPTS)?.to_str().ok()?.parse::<u64>().ok()?;
        // Reads ignore the key, so it says nothing about earlier attempts.
        let has_key = !rpc.only_reads() && headers.contains_key(IDEMPOTENCY_KEY);
        (attempts > 0).then_some(Self { has_key })
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
