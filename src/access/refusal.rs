//! The reasons for which a call is refused.

use std::time::Duration;

/// Why a call is refused before it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller is unknown: it presents no credential, an invalid one, or one of nobody in the
    /// policy.
    Unknown(&'static str),
    /// The JWT cannot be verified yet: the JWKS has not been fetched.
    KeysUnavailable,
    /// The policy does not allow the caller this method.
    MethodNotAllowed,
    /// The policy does not allow the caller this organization.
    OrganizationNotAllowed,
    /// The caller exceeds its rate; the next call is allowed after this time.
    RateLimited(Duration),
}
