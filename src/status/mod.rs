//! THE table: what a failed call becomes for the caller.
//!
//! Each [`Case`] is one row, and [`Case::of`] finds the row of an upstream error: by Stytch's
//! `error_type`, then by its prefix or suffix, then by the HTTP status; never by its message. The same
//! rows are published in `docs/errors.md`.
//!
//! The rule behind it: `UNAVAILABLE` means that sending again is safe, and nothing else. Where the
//! outcome is unknown, the pushback trailer tells retrying clients to stop.

mod details;
mod page;
mod repetition;

use std::time::Duration;

use tonic::{Code, Status};

use crate::{
    access::Refusal,
    idempotency,
    proto::StytchRequest,
    stytch::{ApiError, Effect, Error, OPEN_FOR, Upstream},
};
use details::{Draft, PUSHBACK};
pub use details::{Facts, MAX_TRAILERS, REQUEST_ID};
pub use page::{page, retries_page};
pub use repetition::Repetition;
pub use tonic_types::FieldViolation as Violation;

/// How long a caller is asked to wait before it tries a full server again, before jitter.
const OVERLOADED_WAIT: Duration = Duration::from_millis(100);
/// How long a caller is asked to wait before Stytch is tried again, before jitter.
const UNREACHABLE_WAIT: Duration = Duration::from_millis(500);

/// Everything that can be wrong with a call, one row of the table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Row::cause says what each is.
pub enum Case {
    CallerUnknown,
    CallerUntold,
    CallerNotAllowed,
    CallerTooFast,
    InvalidRequest,
    KeyReused,
    InvalidArgument,
    WrongCode,
    AlreadyExists,
    NotFound,
    FailedPrecondition,
    PermissionDenied,
    Conflict,
    RateLimited,
    LockedOut,
    CredentialsRejected,
    WrongRoute,
    ForeignAnswer,
    UnreadableAnswer,
    OutcomeUnknown,
    ReadFailed,
    Unreachable,
    CircuitOpen,
    NoIdempotencyStore,
    DeadlineNotSent,
    DeadlineUnknown,
    Overloaded,
    Panicked,
    TooLarge,
    Malformed,
    Unimplemented,
}

/// What a [`Case`] becomes.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// When it happens, in words for the published table.
    pub cause: &'static str,
    /// The gRPC status code.
    pub code: Code,
    /// The reason in `ErrorInfo`, or none where it is Stytch's `error_type` in upper case.
    pub reason: Option<&'static str>,
    /// What is known about the call.
    pub upstream: Upstream,
    /// What retrying clients are told.
    pub pushback: Pushback,
    /// The detail beside `ErrorInfo`.
    pub detail: Detail,
    /// The stable part of the status message.
    pub message: &'static str,
}

/// The trailer `grpc-retry-pushback-ms`, and `RetryInfo` with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Not sent: nothing is gained or lost by the client's own policy.
    None,
    /// Do not retry.
    Never,
    /// Retry after this long, with jitter added.
    After(Duration),
    /// Retry when Stytch's `Retry-After` says, with jitter added; as [`Pushback::None`] without one.
    RetryAfter,
}

/// The detail that says more in a form for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// None.
    None,
    /// `BadRequest`: the field, where the error names one.
    BadRequest,
    /// `ResourceInfo`: the kind of object, and the id of the organization or member it belongs to.
    ResourceInfo,
    /// `PreconditionFailure`.
    PreconditionFailure,
    /// `QuotaFailure`.
    QuotaFailure,
}

impl Case {
    /// Every row, in the order in which they are published.
    pub const ALL: [Self; 31] = [
        Self::CallerUnknown,
        Self::CallerUntold,
        Self::CallerNotAllowed,
        Self::CallerTooFast,
        Self::InvalidRequest,
        Self::KeyReused,
        Self::InvalidArgument,
        Self::WrongCode,
        Self::AlreadyExists,
        Self::NotFound,
        Self::FailedPrecondition,
        Self::PermissionDenied,
        Self::Conflict,
        Self::RateLimited,
        Self::LockedOut,
        Self::CredentialsRejected,
        Self::WrongRoute,
        Self::ForeignAnswer,
        Self::UnreadableAnswer,
        Self::OutcomeUnknown,
        Self::ReadFailed,
        Self::Unreachable,
        Self::CircuitOpen,
        Self::NoIdempotencyStore,
        Self::DeadlineNotSent,
        Self::DeadlineUnknown,
        Self::Overloaded,
        Self::Panicked,
        Self::TooLarge,
        Self::Malformed,
        Self::Unimplemented,
    ];

    /// The row of an upstream error.
    pub fn of(error: &Error, effect: Effect) -> Self {
        match error {
            Error::Unreachable(_) => Self::Unreachable,
            Error::CircuitOpen { sent: false, .. } => Self::CircuitOpen,
            Error::CircuitOpen { sent: true, .. } => Self::ReadFailed,
            Error::TimedOut { sent: false } => Self::DeadlineNotSent,
            Error::TimedOut { sent: true } => Self::DeadlineUnknown,
            Error::Failed { http_status, .. } if http_status.as_u16() == 408 => {
                Self::DeadlineUnknown
            }
            Error::Failed { .. } | Error::Disconnected(_) => match effect {
                Effect::Mutates => Self::OutcomeUnknown,
                Effect::Reads => Self::ReadFailed,
            },
            Error::Foreign { .. } => Self::ForeignAnswer,
            Error::Unreadable { .. } => Self::UnreadableAnswer,
            Error::Rejected(api) => Self::of_rejection(api),
        }
    }

    fn of_rejection(api: &ApiError) -> Self {
        let rule = rule(&api.error_type).map(|(case, _)| case);
        rule.unwrap_or(match api.http_status.as_u16() {
            400 | 422 => Self::InvalidArgument,
            // The end user's proof, not the caller's: UNAUTHENTICATED would tell the caller to
            // renew a token of its own.
            401 | 403 => Self::PermissionDenied,
            404 => Self::NotFound,
            409 => Self::Conflict,
            429 => Self::RateLimited,
            _ => Self::FailedPrecondition,
        })
    }

    /// What this case becomes.
    #[rustfmt::skip] // a row is a line of values and two of words
    pub fn row(self) -> Row {
        use Code::{
            Aborted, AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument,
            NotFound, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable,
            Unimplemented, Unknown as UnknownCode,
        };
        use Detail::{BadRequest, PreconditionFailure, QuotaFailure, ResourceInfo};
        use Pushback::{After, Never, RetryAfter};
        use Upstream::{NotSent, Rejected, Unknown};
        const STYTCHS: Option<&str> = None;
        const UNREADABLE: Option<&str> = Some("UPSTREAM_ANSWER_UNREADABLE");
        const OUTCOME: Option<&str> = Some("OUTCOME_UNKNOWN");
        const DEADLINE: Option<&str> = Some("DEADLINE_EXCEEDED");
        let row = |code, reason, upstream, pushback, detail, cause, message| Row {
            cause, code, reason, upstream, pushback, detail, message,
        };
        match self {
            Self::CallerUnknown => row(Unauthenticated, Some("CALLER_UNKNOWN"), NotSent, Pushback::None, Detail::None,
                "This service does not know the caller: no good client certificate or token",
                "who calls is not known"),
            Self::CallerUntold => row(Unavailable, Some("CALLER_KEYS_UNAVAILABLE"), NotSent, After(UNREACHABLE_WAIT), Detail::None,
                "The call has a JWT, and the URL of the issuer's keys has not answered yet; nothing was sent",
                "the issuer's keys are not at hand; nothing was sent"),
            Self::CallerNotAllowed => row(PermissionDenied, Some("CALLER_NOT_ALLOWED"), NotSent, Pushback::None, Detail::None,
                "The caller may not call this method, or not for this organization",
                "the caller may not do this"),
            Self::CallerTooFast => row(ResourceExhausted, Some("CALLER_RATE_LIMITED"), NotSent, After(OVERLOADED_WAIT), Detail::None,
                "The caller is above the rate that it may call at",
                "the caller is above its rate"),
            Self::InvalidRequest => row(InvalidArgument, Some("INVALID_REQUEST"), NotSent, Pushback::None, BadRequest,
                "The request is incomplete or out of range; nothing was sent",
                "the request is invalid"),
            Self::KeyReused => row(InvalidArgument, Some("IDEMPOTENCY_KEY_REUSED"), NotSent, Pushback::None, BadRequest,
                "The idempotency key was used for another request",
                "the idempotency key was used for another request"),
            Self::InvalidArgument => row(InvalidArgument, STYTCHS, Rejected, Pushback::None, BadRequest,
                "Stytch finds a value invalid",
                "Stytch finds the request invalid"),
            Self::WrongCode => row(InvalidArgument, STYTCHS, Rejected, Pushback::None, BadRequest,
                "A passcode or recovery code is wrong or spent",
                "the code is not accepted"),
            Self::AlreadyExists => row(AlreadyExists, STYTCHS, Rejected, Pushback::None, ResourceInfo,
                "What is to be created exists",
                "it exists already"),
            Self::NotFound => row(NotFound, STYTCHS, Rejected, Pushback::None, ResourceInfo,
                "A member, organization, session, TOTP or set of recovery codes does not exist",
                "not found"),
            Self::FailedPrecondition => row(FailedPrecondition, STYTCHS, Rejected, Pushback::None, PreconditionFailure,
                "The member or organization is not in a state that allows it",
                "not possible in the present state"),
            Self::PermissionDenied => row(PermissionDenied, STYTCHS, Rejected, Pushback::None, Detail::None,
                "The end user's session does not allow it, or the organization is suspended",
                "not permitted"),
            Self::Conflict => row(Aborted, STYTCHS, Rejected, Pushback::None, Detail::None,
                "Another change got in between (HTTP 409)",
                "another change got in between"),
            Self::RateLimited => row(ResourceExhausted, STYTCHS, Rejected, RetryAfter, QuotaFailure,
                "Stytch's rate limit is reached",
                "Stytch's rate limit is reached"),
            Self::LockedOut => row(ResourceExhausted, STYTCHS, Rejected, Never, QuotaFailure,
                "The member is locked after too many failed attempts",
                "the member is locked"),
            Self::CredentialsRejected => row(Internal, Some("UPSTREAM_CREDENTIALS_REJECTED"), Rejected, Never, Detail::None,
                "Stytch refuses this service's own credentials",
                "Stytch refuses the credentials of this service"),
            Self::WrongRoute => row(Internal, STYTCHS, Rejected, Never, Detail::None,
                "Stytch does not know the route: this service has a wrong base URL",
                "the base URL of this service is wrong"),
            Self::ForeignAnswer => row(Internal, UNREADABLE, Unknown, Never, Detail::None,
                "A redirect, or a 4xx that is not Stytch's: likely a wrong base URL or a proxy",
                "something other than Stytch's API answered; is the base URL of this service right?"),
            Self::UnreadableAnswer => row(Internal, UNREADABLE, Unknown, Never, Detail::None,
                "A success that is cut short, too long, not JSON, or without its essential field",
                "Stytch's answer cannot be read; the outcome is unknown"),
            Self::OutcomeUnknown => row(UnknownCode, OUTCOME, Unknown, Never, Detail::None,
                "Stytch failed (5xx, 499) or the connection broke after the request was sent",
                "the outcome is unknown; the call may have taken effect"),
            Self::ReadFailed => row(Unavailable, OUTCOME, Unknown, After(UNREACHABLE_WAIT), Detail::None,
                "The same, for a call that only reads, when repeating it did not help",
                "Stytch did not answer; reading again is safe"),
            Self::Unreachable => row(Unavailable, Some("UPSTREAM_UNREACHABLE"), NotSent, After(UNREACHABLE_WAIT), Detail::None,
                "Stytch cannot be reached (refused, no such host, TLS), tried three times; nothing was sent",
                "Stytch cannot be reached; nothing was sent"),
            Self::CircuitOpen => row(Unavailable, Some("CIRCUIT_OPEN"), NotSent, After(OPEN_FOR), Detail::None,
                "Stytch has not been answering, so for some seconds it is not tried; nothing was sent",
                "Stytch has not been answering; nothing was sent"),
            Self::NoIdempotencyStore => row(Unavailable, Some("IDEMPOTENCY_STORE_UNAVAILABLE"), NotSent, After(UNREACHABLE_WAIT), Detail::None,
                "The call has an idempotency key, and Redis cannot be reached; nothing was sent",
                "the idempotency store cannot be reached; nothing was sent"),
            Self::DeadlineNotSent => row(DeadlineExceeded, DEADLINE, NotSent, Pushback::None, Detail::None,
                "Time ran out before the request was sent (your deadline, or the ten seconds for your message to arrive)",
                "time ran out; nothing was sent"),
            Self::DeadlineUnknown => row(DeadlineExceeded, DEADLINE, Unknown, Never, Detail::None,
                "Time ran out after the request was sent (your deadline, the upstream timeout, HTTP 408)",
                "time ran out; the outcome is unknown"),
            Self::Overloaded => row(ResourceExhausted, Some("OVERLOADED"), NotSent, After(OVERLOADED_WAIT), Detail::None,
                "Too many calls are in flight in this process, or on your connection; nothing was sent",
                "too many calls in flight; nothing was sent"),
            Self::Panicked => row(Internal, Some("INTERNAL_ERROR"), Unknown, Never, Detail::None,
                "A bug in this service",
                "internal error; the outcome is unknown"),
            // The messages of the last three are tonic's.
            Self::TooLarge => row(OutOfRange, Some("REQUEST_TOO_LARGE"), NotSent, Pushback::None, Detail::None,
                "The request is larger than 16 KiB",
                ""),
            Self::Malformed => row(Internal, Some("MALFORMED_REQUEST"), NotSent, Pushback::None, Detail::None,
                "The request is not a valid gRPC or protobuf message",
                ""),
            Self::Unimplemented => row(Unimplemented, Some("UNIMPLEMENTED"), NotSent, Pushback::None, Detail::None,
                "No such service or method, or an unknown compression",
                ""),
        }
    }
}

impl Row {
    /// As [`is_remembered`].
    fn is_remembered(&self) -> bool {
        remembered(self.upstream, self.code, self.pushback == Pushback::Never)
    }
}

/// Whether a repetition with the same idempotency key is told the same, rather than made anew: always where
/// the outcome is unknown, and where Stytch refused for good. A refusal that passes by itself (a rate limit, a
/// conflict), or that this service is to blame for, says nothing of the next try.
pub fn is_remembered(status: &Status) -> bool {
    let facts = Facts::of(status);
    let never = status.metadata().get(PUSHBACK).is_some_and(|value| value == "-1");
    facts.upstream.is_none_or(|upstream| remembered(upstream, status.code(), never))
}

fn remembered(upstream: Upstream, code: Code, never: bool) -> bool {
    match upstream {
        Upstream::NotSent => false,
        Upstream::Unknown => true,
        Upstream::Rejected => match code {
            Code::Aborted | Code::Internal => false,
            Code::ResourceExhausted => never,
            _ => true,
        },
    }
}

/// A rule for error types that [`TYPES`] does not name.
#[derive(Clone, Copy, Debug)]
enum Affix {
    Prefix(&'static str),
    Suffix(&'static str),
}

impl Affix {
    fn strip(self, name: &str) -> Option<&str> {
        match self {
            Self::Prefix(prefix) => name.strip_prefix(prefix),
            Self::Suffix(suffix) => name.strip_suffix(suffix),
        }
    }
}

const AFFIXES: [(Affix, Case); 7] = [
    (Affix::Suffix("_not_found"), Case::NotFound),
    (Affix::Suffix("_exists"), Case::AlreadyExists),
    (Affix::Prefix("duplicate_"), Case::AlreadyExists),
    (Affix::Suffix("_already_used"), Case::AlreadyExists),
    (Affix::Suffix("_too_long"), Case::InvalidArgument),
    (Affix::Prefix("session_authorization_"), Case::PermissionDenied),
    (Affix::Prefix("invalid_"), Case::InvalidArgument),
];

/// Stytch's error types that matter here: the row, and what it is about (a field of the request for
/// `BadRequest`, a kind of object for `ResourceInfo`).
const TYPES: [(&str, Case, &str); 41] = [
    ("action_available_only_for_active_members", Case::FailedPrecondition, ""),
    ("action_available_only_once_primary_authentication_is_met", Case::FailedPrecondition, ""),
    ("active_totp_exists", Case::AlreadyExists, "totp"),
    ("custom_claims_too_large", Case::InvalidArgument, "session_custom_claims"),
    ("expired_totp", Case::FailedPrecondition, ""),
    ("insufficient_factors_for_session_exchange", Case::FailedPrecondition, ""),
    ("invalid_b2b_endpoint", Case::CredentialsRejected, ""),
    ("invalid_project_id_authentication", Case::CredentialsRejected, ""),
    ("invalid_recovery_code", Case::WrongCode, "recovery_code"),
    ("invalid_secret_authentication", Case::CredentialsRejected, ""),
    ("invalid_session_duration", Case::InvalidArgument, "session_duration_minutes"),
    ("invalid_session_duration_minutes", Case::InvalidArgument, "session_duration_minutes"),
    // Said of session tokens and of intermediate session tokens alike, so it names no field.
    ("invalid_session_token", Case::InvalidArgument, ""),
    ("invalid_totp_code", Case::WrongCode, "code"),
    ("member_does_not_exist_in_organization", Case::NotFound, "member"),
    ("member_session_member_id_mismatch", Case::PermissionDenied, ""),
    ("no_active_recovery_code_backed_factor", Case::FailedPrecondition, ""),
    ("no_session_arguments", Case::InvalidArgument, ""),
    ("operation_restricted_by_organization_auth_methods", Case::FailedPrecondition, ""),
    ("operation_restricted_by_organization_mfa_methods", Case::FailedPrecondition, ""),
    ("organization_suspended", Case::PermissionDenied, ""),
    ("pending_totp_exists", Case::AlreadyExists, "totp"),
    ("recovery_code_used_as_totp_code", Case::WrongCode, "code"),
    ("recovery_codes_already_exist", Case::AlreadyExists, "recovery_codes"),
    ("route_not_found", Case::WrongRoute, ""),
    ("session_enforced_factor_matching_session_required", Case::FailedPrecondition, ""),
    ("session_must_have_at_least_one_active_factor", Case::FailedPrecondition, ""),
    ("too_many_requests", Case::RateLimited, ""),
    ("too_many_session_arguments", Case::InvalidArgument, "session_jwt"),
    ("totp_code_already_authenticated", Case::WrongCode, "code"),
    ("totp_code_used_as_recovery_code", Case::WrongCode, "recovery_code"),
    ("totps_not_found_for_user", Case::NotFound, "totp"),
    ("unable_to_authenticate_recovery_code", Case::WrongCode, "recovery_code"),
    ("unable_to_authenticate_totp", Case::WrongCode, "code"),
    ("unable_to_parse_session_jwt", Case::InvalidArgument, "session_jwt"),
    ("unauthorized_action", Case::PermissionDenied, ""),
    ("unauthorized_credentials", Case::CredentialsRejected, ""),
    ("unauthorized_project_id_live", Case::CredentialsRejected, ""),
    ("unauthorized_project_id_test", Case::CredentialsRejected, ""),
    ("use_https", Case::WrongRoute, ""),
    ("user_lock_limit_reached", Case::LockedOut, ""),
];

/// The row of an error type and what it is about, by its name or by a part of it. What it is about is
/// empty when the name does not say.
fn rule(error_type: &str) -> Option<(Case, &str)> {
    let known = TYPES.iter().find(|(known, ..)| *known == error_type);
    known.map(|(_, case, subject)| (*case, *subject)).or_else(|| {
        AFFIXES.iter().find_map(|(affix, case)| Some((*case, affix.strip(error_type)?)))
    })
}

/// The status of a call that failed upstream.
pub fn upstream(error: &Error, effect: Effect, request: &dyn StytchRequest) -> Status {
    let mut draft = Draft::new(Case::of(error, effect));
    draft.describe(error, request);
    draft.finish()
}

/// The status of a request that was found invalid here, with every violation at once.
pub fn invalid(violations: Vec<Violation>) -> Status {
    let mut draft = Draft::new(Case::InvalidRequest);
    draft.violations(violations);
    draft.finish()
}

/// The status of a call whose idempotency key was used for another request.
pub fn key_reused() -> Status {
    let mut draft = Draft::new(Case::KeyReused);
    draft.violations(vec![Violation::new(idempotency::HEADER, "was used for another request")]);
    draft.finish()
}

/// The status of a call with an idempotency key while the store of keys does not answer.
pub fn no_idempotency_store() -> Status {
    Draft::new(Case::NoIdempotencyStore).finish()
}

/// The status of a call of which it is only known that it may have been sent.
pub fn outcome_unknown() -> Status {
    Draft::new(Case::OutcomeUnknown).finish()
}

/// The status of a call whose time ran out in this service, by whether the request had left.
pub fn deadline_exceeded(sent: bool) -> Status {
    Draft::new(if sent { Case::DeadlineUnknown } else { Case::DeadlineNotSent }).finish()
}

/// The status of a call whose caller is refused.
pub fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Unknown(why) => {
            let mut draft = Draft::new(Case::CallerUnknown);
            draft.add(why);
            draft.finish()
        }
        Refusal::Untold => Draft::new(Case::CallerUntold).finish(),
        Refusal::NotAllowed => Draft::new(Case::CallerNotAllowed).finish(),
        Refusal::TooFast(wait) => {
            let mut draft = Draft::new(Case::CallerTooFast);
            draft.wait(*wait);
            draft.finish()
        }
    }
}

/// The status of a call that was shed.
pub fn overloaded() -> Status {
    Draft::new(Case::Overloaded).finish()
}

/// The status of a call whose handler panicked.
pub fn panicked() -> Status {
    Draft::new(Case::Panicked).finish()
}

/// A code as the gRPC specification spells it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether a code is this service's or Stytch's failure, rather than an answer to what was asked.
pub fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Internal
            | Code::Unknown
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::DataLoss
    )
}

/// Adds what every error of ours carries to one that tonic made before a handler was reached.
pub fn of_transport(status: &Status) -> Status {
    let case = match status.code() {
        Code::OutOfRange => Case::TooLarge,
        Code::Unimplemented => Case::Unimplemented,
        _ => Case::Malformed,
    };
    let mut draft = Draft::new(case);
    draft.replace(status.code(), status.message());
    draft.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stytch::OUR_CREDENTIALS;

    #[test]
    fn the_client_and_the_table_agree_on_what_is_about_our_credentials() {
        let rows = TYPES.iter().filter(|(_, case, _)| *case == Case::CredentialsRejected);

        assert!(rows.map(|(name, ..)| *name).eq(OUR_CREDENTIALS));
    }
}
