//! What a failure says of a call that its client's library has made before.
//!
//! A library that retries by itself shows its caller the last attempt alone. That nothing was sent then, or that Stytch
//! refused, says nothing of the attempts before; so such a failure may not say so of the call.

use http::{HeaderMap, Response};
use prost::Message as _;
use tonic::{Status, body::Body};
use tonic_types::pb;

use crate::{
    proto::metadata::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, PREVIOUS_ATTEMPTS},
    stytch::Upstream,
};

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// Our reasons that are given after the key of a call was claimed, and so speak of all its attempts.
const AFTER_THE_CLAIM: [&str; 3] =
    ["UPSTREAM_UNREACHABLE", "CIRCUIT_OPEN", "IDEMPOTENCY_KEY_REUSED"];

/// And those that hold for the same request whenever it comes.
const OF_THE_REQUEST: [&str; 4] =
    ["INVALID_REQUEST", "MALFORMED_REQUEST", "REQUEST_TOO_LARGE", "UNIMPLEMENTED"];

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

    /// The same for a call that takes no notice of a key.
    pub fn without_key(headers: &HeaderMap) -> Option<Self> {
        let attempts = headers.get(PREVIOUS_ATTEMPTS)?.to_str().ok()?.parse::<u64>().ok()?;
        (attempts > 0).then_some(Self { has_key: false })
    }

    /// The answer to the call, which claims no more than is known of all its attempts.
    pub fn qualify(self, response: Response<Body>) -> Response<Body> {
        let failure = Status::from_header_map(response.headers());
        match failure.as_ref().and_then(|failure| self.qualified(failure)) {
            Some(status) => status.into_http(),
            None => response,
        }
    }

    /// The status as it should be, where that is another.
    pub fn qualified(self, status: &Status) -> Option<Status> {
        let mut details = pb::Status::decode(status.details()).ok()?;
        let info = details.details.iter_mut().find(|detail| detail.type_url == ERROR_INFO)?;
        let mut error = pb::ErrorInfo::decode(info.value.as_slice()).ok()?;
        if self.is_of_all_attempts(status, &error) {
            return None;
        }
        let upstream = error.metadata.get_mut("upstream")?;
        Upstream::Unknown.as_str().clone_into(upstream);
        info.value = error.encode_to_vec();
        Some(Status::with_details_and_metadata(
            status.code(),
            status.message(),
            details.encode_to_vec().into(),
            status.metadata().clone(),
        ))
    }

    /// Whether a failure that says what it knows of this attempt knows it of the others.
    fn is_of_all_attempts(self, status: &Status, error: &pb::ErrorInfo) -> bool {
        let upstream = error.metadata.get("upstream").map(String::as_str);
        if upstream == Some(Upstream::Unknown.as_str())
            || OF_THE_REQUEST.contains(&error.reason.as_str())
        {
            return true;
        }
        // The store of keys has been asked: there was no earlier attempt, or this is what it was told.
        self.has_key
            && (upstream == Some(Upstream::Rejected.as_str())
                || AFTER_THE_CLAIM.contains(&error.reason.as_str())
                || status.metadata().contains_key(IDEMPOTENT_REPLAYED))
    }
}
