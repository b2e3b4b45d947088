//! What a failure says about a call that its client's gRPC library has retried.
//!
//! A library that retries by itself shows its caller the last attempt alone. That nothing was sent in
//! that attempt, or that Stytch refused it, says nothing about the attempts before; so such a failure
//! may not say so about the call.

use http::HeaderMap;

use super::{
    failure::{Failure, Form, Parts},
    table::Case,
};
use crate::{
    proto::metadata::{IDEMPOTENCY_KEY, PREVIOUS_ATTEMPTS},
    stytch::Upstream,
};

/// A call that its client's library has made before.
#[derive(Clone, Copy, Debug)]
pub struct Repetition {
    has_key: bool,
}

impl Repetition {
    /// Whether a call with these headers is one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let has_key = headers.contains_key(IDEMPOTENCY_KEY);
        Self::without_key(headers).map(|_| Self { has_key })
    }

    /// The same for a call that ignores an idempotency key.
    pub fn without_key(headers: &HeaderMap) -> Option<Self> {
        let attempts = headers.get(PREVIOUS_ATTEMPTS)?.to_str().ok()?.parse::<u64>().ok()?;
        (attempts > 0).then_some(Self { has_key: false })
    }

    /// The failure as it should be, where it claims more than is known about all attempts.
    pub fn qualify(self, failure: &Failure) -> Option<Failure> {
        match failure.form() {
            Form::Made { parts, .. } if !self.is_of_all_attempts(parts) => {
                Some(failure.clone().of_unknown_outcome())
            }
            // A record speaks of all attempts with its key.
            Form::Made { .. } | Form::Recorded(_) => None,
        }
    }

    /// Whether a failure that says what it knows about this attempt knows it about the others.
    fn is_of_all_attempts(self, failure: &Parts) -> bool {
        match failure.case {
            // These hold for the same request whenever it comes.
            Case::InvalidRequest | Case::Malformed | Case::TooLarge | Case::Unimplemented => true,
            // With a key, the store was asked before: there was no earlier attempt, or this is its
            // outcome.
            Case::Unreachable | Case::CircuitOpen | Case::KeyReused if self.has_key => true,
            _ => match failure.upstream {
                Upstream::Unknown => true,
                Upstream::Rejected => self.has_key,
                Upstream::NotSent => false,
            },
        }
    }
}
