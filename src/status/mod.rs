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
    proto::{StytchRequest, metadata},
    stytch::{ApiError, Effect, Error, OPEN_FOR, Unreadable, Upstream},
};
use details::Draft;
pub use details::{Facts, MAX_TRAILERS, MAX_VIOLATIONS, request_id};
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
    Throttled,
    Intercepted,
    ForeignAnswer,
    UnreadableAnswer,
    EmptyAnswer,
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
    ServiceUnknown,
    ServerClosing,
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
    pub const ALL: [Self; 36] = [
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
        Self::Throttled,
        Self::Intercepted,
        Self::ForeignAnswer,
        Self::UnreadableAnswer,
        Self::EmptyAnswer,
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
        Self::ServiceUnknown,
        Self::ServerClosing,
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
            Error::Intercepted { http_status, .. } if http_status.as_u16() == 429 => {
                Self::Throttled
            }
            Error::Intercepted { .. } => Self::Intercepted,
            Error::Foreign { .. } => Self::ForeignAnswer,
            Error::Unreadable { why: Unreadable::Empty, .. } => Self::EmptyAnswer,
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
            Self::Throttled => row(ResourceExhausted, Some("UPSTREAM_RATE_LIMITED"), Rejected, RetryAfter, Detail::None,
                "A 429 that is not Stytch's: a rate limit of something in front of it, which passed nothing on",
                "a rate limit in front of Stytch is reached; nothing was done"),
            Self::Intercepted => row(Internal, Some("UPSTREAM_REQUEST_INTERCEPTED"), Rejected, Never, Detail::None,
                "A 407, 413, 414, 421, 425, 431 or 511 that is not Stytch's: something in front of it, which passed nothing on",
                "something in front of Stytch refuses the requests of this service; nothing was done"),
            Self::ForeignAnswer => row(Internal, UNREADABLE, Unknown, Never, Detail::None,
                "A redirect, or another 4xx that is not Stytch's: likely a wrong base URL or a proxy",
                "something other than Stytch's API answered; is the base URL of this service right?"),
            Self::UnreadableAnswer => row(Internal, UNREADABLE, Unknown, Never, Detail::None,
                "A success that is cut short, too long, not JSON, or without its essential field",
                "Stytch's answer cannot be read; the outcome is unknown"),
            Self::EmptyAnswer => row(Internal, UNREADABLE, Unknown, Never, Detail::None,
                "A success without an answer (204, 205, or no body): most likely it has taken effect, but Stytch never answers so",
                "a success without an answer, which Stytch never gives; most likely the call has taken effect"),
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
            // Where the message is empty it is that of whoever found the fault.
            Self::TooLarge => row(OutOfRange, Some("REQUEST_TOO_LARGE"), NotSent, Pushback::None, Detail::None,
                "The message or its metadata is larger than 16 KiB",
                ""),
            Self::Malformed => row(Internal, Some("MALFORMED_REQUEST"), NotSent, Pushback::None, Detail::None,
                "The request is not a valid gRPC or protobuf message, or more than one",
                ""),
            Self::Unimplemented => row(Unimplemented, Some("UNIMPLEMENTED"), NotSent, Pushback::None, Detail::None,
                "No such service or method, or an unknown compression",
                ""),
            Self::ServiceUnknown => row(NotFound, Some("SERVICE_UNKNOWN"), NotSent, Pushback::None, Detail::None,
                "A health check of a service that is not served here",
                ""),
            Self::ServerClosing => row(Unavailable, Some("SERVER_CLOSING"), NotSent, After(OVERLOADED_WAIT), Detail::None,
                "The stream (a watch of health, reflection) ends with its connection; connect again",
                "the connection is closing"),
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
    let never = status.metadata().get(metadata::RETRY_PUSHBACK).is_some_and(|value| value == "-1");
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

/// What an error of Stytch's is about, as far as its type says.
#[derive(Clone, Copy, Debug)]
enum About<'a> {
    /// It does not say.
    Nothing,
    /// A field of the request for `BadRequest`, a kind of object for `ResourceInfo`.
    Name(&'a str),
    /// Whichever field says whose login this is.
    Proofs,
}

/// Stytch's error types that matter here: the row, and what it is about.
#[rustfmt::skip] // a type is a line
const TYPES: [(&str, Case, About<'_>); 41] = [
    ("action_available_only_for_active_members", Case::FailedPrecondition, About::Nothing),
    ("action_available_only_once_primary_authentication_is_met", Case::FailedPrecondition, About::Nothing),
    ("active_totp_exists", Case::AlreadyExists, About::Name("totp")),
    ("custom_claims_too_large", Case::InvalidArgument, About::Name("session_custom_claims")),
    ("expired_totp", Case::FailedPrecondition, About::Nothing),
    ("insufficient_factors_for_session_exchange", Case::FailedPrecondition, About::Nothing),
    ("invalid_b2b_endpoint", Case::CredentialsRejected, About::Nothing),
    ("invalid_project_id_authentication", Case::CredentialsRejected, About::Nothing),
    ("invalid_recovery_code", Case::WrongCode, About::Name("recovery_code")),
    ("invalid_secret_authentication", Case::CredentialsRejected, About::Nothing),
    ("invalid_session_duration", Case::InvalidArgument, About::Name("session_duration_minutes")),
    ("invalid_session_duration_minutes", Case::InvalidArgument, About::Name("session_duration_minutes")),
    // Said of session tokens and of intermediate session tokens alike.
    ("invalid_session_token", Case::InvalidArgument, About::Proofs),
    ("invalid_totp_code", Case::WrongCode, About::Name("code")),
    ("member_does_not_exist_in_organization", Case::NotFound, About::Name("member")),
    ("member_session_member_id_mismatch", Case::PermissionDenied, About::Nothing),
    ("no_active_recovery_code_backed_factor", Case::FailedPrecondition, About::Nothing),
    ("no_session_arguments", Case::InvalidArgument, About::Proofs),
    ("operation_restricted_by_organization_auth_methods", Case::FailedPrecondition, About::Nothing),
    ("operation_restricted_by_organization_mfa_methods", Case::FailedPrecondition, About::Nothing),
    ("organization_suspended", Case::PermissionDenied, About::Nothing),
    ("pending_totp_exists", Case::AlreadyExists, About::Name("totp")),
    ("recovery_code_used_as_totp_code", Case::WrongCode, About::Name("code")),
    ("recovery_codes_already_exist", Case::AlreadyExists, About::Name("recovery_codes")),
    ("route_not_found", Case::WrongRoute, About::Nothing),
    ("session_enforced_factor_matching_session_required", Case::FailedPrecondition, About::Nothing),
    ("session_must_have_at_least_one_active_factor", Case::FailedPrecondition, About::Nothing),
    ("too_many_requests", Case::RateLimited, About::Nothing),
    ("too_many_session_arguments", Case::InvalidArgument, About::Proofs),
    ("totp_code_already_authenticated", Case::WrongCode, About::Name("code")),
    ("totp_code_used_as_recovery_code", Case::WrongCode, About::Name("recovery_code")),
    ("totps_not_found_for_user", Case::NotFound, About::Name("totp")),
    ("unable_to_authenticate_recovery_code", Case::WrongCode, About::Name("recovery_code")),
    ("unable_to_authenticate_totp", Case::WrongCode, About::Name("code")),
    ("unable_to_parse_session_jwt", Case::InvalidArgument, About::Name("session_jwt")),
    ("unauthorized_action", Case::PermissionDenied, About::Nothing),
    ("unauthorized_credentials", Case::CredentialsRejected, About::Nothing),
    ("unauthorized_project_id_live", Case::CredentialsRejected, About::Nothing),
    ("unauthorized_project_id_test", Case::CredentialsRejected, About::Nothing),
    ("use_https", Case::WrongRoute, About::Nothing),
    ("user_lock_limit_reached", Case::LockedOut, About::Nothing),
];

/// The row of an error type and what it is about, by its name or by a part of it.
fn rule(error_type: &str) -> Option<(Case, About<'_>)> {
    let known = TYPES.iter().find(|(known, ..)| *known == error_type);
    known.map(|(_, case, about)| (*case, *about)).or_else(|| {
        AFFIXES.iter().find_map(|(affix, case)| {
            let rest = affix.strip(error_type)?;
            Some((*case, if rest.is_empty() { About::Nothing } else { About::Name(rest) }))
        })
    })
}

/// The status of a call that failed upstream.
pub fn upstream(error: &Error, effect: Effect, request: &dyn StytchRequest) -> Status {
    let mut draft = Draft::new(Case::of(error, effect));
    draft.describe(error, request);
    draft.finish()
}

/// The status of a request that was found invalid here, with every violation at once, as far as there is room.
pub fn invalid(violations: Vec<Violation>) -> Status {
    invalid_and_more(violations, 0)
}

/// The same, with `more` that nobody has listed.
pub fn invalid_and_more(violations: Vec<Violation>, more: usize) -> Status {
    let mut draft = Draft::new(Case::InvalidRequest);
    draft.violations(violations, more);
    draft.finish()
}

/// The status of a call whose idempotency key was used for another request.
pub fn key_reused() -> Status {
    let mut draft = Draft::new(Case::KeyReused);
    draft.violations(
        vec![Violation::new(metadata::IDEMPOTENCY_KEY, "was used for another request")],
        0,
    );
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

/// The status of a call to a method that there is not.
pub fn unimplemented() -> Status {
    of_transport(&Status::unimplemented("there is no such method"))
}

/// The status of a call with more metadata than is read.
pub fn metadata_too_large() -> Status {
    of_transport(&Status::out_of_range("the metadata is larger than 16 KiB"))
}

/// The status of a unary call with more than one message.
pub fn more_than_one_message() -> Status {
    of_transport(&Status::internal("the call takes one message, and there is more than one"))
}

/// The status of a stream that ends with its connection.
pub fn server_closing() -> Status {
    Draft::new(Case::ServerClosing).finish()
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
        Code::NotFound => Case::ServiceUnknown,
        _ => Case::Malformed,
    };
    let mut draft = Draft::new(case);
    draft.replace(status.code(), status.message());
    draft.finish()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::{collection::vec, prelude::*};
    use serde_json::json;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::{
        proto::stytch::b2b::totp::v1::AuthenticateRequest,
        stytch::{Mask, OUR_CREDENTIALS},
    };

    #[test]
    fn the_client_and_the_table_agree_on_what_is_about_our_credentials() {
        let rows = TYPES.iter().filter(|(_, case, _)| *case == Case::CredentialsRejected);

        assert!(rows.map(|(name, ..)| *name).eq(OUR_CREDENTIALS));
    }

    /// The status of a call that Stytch refused with this body.
    fn refused_with(body: &serde_json::Value) -> Status {
        let body = body.to_string();
        let http_status = StatusCode::IM_A_TEAPOT;
        let body = Ok(body.as_bytes());
        let error = Error::from_response(http_status, &HeaderMap::new(), body, || Mask::new([]));
        let request = AuthenticateRequest {
            organization_id: "o".repeat(8_000),
            member_id: "m".repeat(8_000),
            session_token: Some("a-token".into()),
            ..AuthenticateRequest::default()
        };
        upstream(&error, Effect::Mutates, &request)
    }

    #[test]
    fn every_type_of_the_table_has_the_detail_that_its_row_promises() {
        let affixed = AFFIXES.map(|(affix, case)| match affix {
            Affix::Prefix(prefix) => (format!("{prefix}thing"), case),
            Affix::Suffix(suffix) => (format!("thing{suffix}"), case),
        });
        let named = TYPES.iter().map(|(name, case, _)| ((*name).to_owned(), *case));
        for (error_type, case) in named.chain(affixed) {
            let status = refused_with(&json!({"error_type": error_type}));

            let details = status.get_error_details();
            let has_it = match case.row().detail {
                Detail::None => true,
                Detail::BadRequest => details.bad_request().is_some_and(|it| {
                    let mut violations = it.field_violations.iter();
                    !it.field_violations.is_empty() && violations.all(|it| !it.field.is_empty())
                }),
                Detail::ResourceInfo => {
                    details.resource_info().is_some_and(|it| !it.resource_type.is_empty())
                }
                Detail::PreconditionFailure => details.precondition_failure().is_some(),
                Detail::QuotaFailure => details.quota_failure().is_some(),
            };
            assert!(has_it, "{error_type}: {:?}", case.row().detail);
        }
    }

    /// `[A-Z][A-Z0-9_]+[A-Z0-9]`, at most 63 characters.
    fn is_reason(reason: &str) -> bool {
        let is_end = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        (3..=63).contains(&reason.len())
            && reason.starts_with(|c: char| c.is_ascii_uppercase())
            && reason.ends_with(is_end)
            && reason.chars().all(|c| is_end(c) || c == '_')
    }

    #[test]
    fn reasons_of_odd_error_types_are_as_error_info_wants_them() {
        for (error_type, reason) in [
            ("totp_not_found", "TOTP_NOT_FOUND"),
            ("2fa_required", "TYPE_2FA_REQUIRED"),
            ("_odd", "TYPE__ODD"),
            ("odd_", "ODD"),
            ("x", "TYPE_X"),
            ("ab", "TYPE_AB"),
            ("a_", "TYPE_A"),
            ("___", "UNNAMED_ERROR"),
            ("\u{1F511}", "UNNAMED_ERROR"),
            ("not found", "NOTFOUND"),
        ] {
            let status = refused_with(&json!({"error_type": error_type}));

            let info = status.get_details_error_info().expect("an ErrorInfo");
            assert_eq!(info.reason, reason, "{error_type}");
            assert!(is_reason(&info.reason), "{error_type}: {}", info.reason);
        }
        let own = Case::ALL.into_iter().filter_map(|case| case.row().reason);
        assert!(own.into_iter().all(is_reason));
    }

    /// What all that can come with it weighs: a refusal is in the headers, which have two more, and a repetition
    /// adds one.
    fn weight(status: Status) -> usize {
        let mut response = status.into_http::<()>();
        let headers = response.headers_mut();
        headers.insert(metadata::IDEMPOTENT_REPLAYED, http::HeaderValue::from_static("true"));
        let date = http::HeaderValue::from_static("Wed, 25 Nov 2026 18:50:11 GMT");
        headers.insert(http::header::DATE, date);
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => any::<String>(),
            1 => "[a-z0-9_]{0,70}",
            1 => (any::<char>(), 0..10_000_usize).prop_map(|(c, times)| String::from(c).repeat(times)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

        #[test]
        fn any_error_type_has_a_reason_as_error_info_wants_it(error_type in any_text()) {
            prop_assume!(!error_type.is_empty());
            let status = refused_with(&json!({"error_type": error_type}));

            let reason = status.get_details_error_info().expect("an ErrorInfo").reason;
            prop_assert!(is_reason(&reason), "{reason}");
        }

        #[test]
        fn whatever_makes_a_status_its_trailers_have_room(
            (texts, more) in (vec(any_text(), 1..400), any::<usize>()),
            code in 1..17_i32,
        ) {
            let text = |at: usize| texts[at % texts.len()].as_str();
            let violations: Vec<_> =
                texts.iter().map(|it| Violation::new(it, text(it.len()))).collect();
            let theirs = json!({
                "error_type": text(1), "error_message": text(2), "error_url": text(3),
                "request_id": text(4), "error_details": {text(5): [text(6), {text(7): 1}]},
            });
            let tonics = Status::new(Code::from_i32(code), text(8));
            let own = Case::ALL.map(|case| {
                let mut draft = Draft::new(case);
                draft.add(text(9));
                draft.wait(Duration::from_secs(1 << 32));
                draft.finish()
            });
            let listed = violations.len();
            for status in own.into_iter().chain([
                invalid(violations.clone()),
                invalid_and_more(violations, more / 2),
                of_transport(&tonics),
                refused_with(&theirs),
                key_reused(),
            ]) {
                prop_assert!(status.get_details_error_info().is_some());
                let (shown, code) = (format!("{listed} of {}", status.message()), status.code());
                let weight = weight(status);
                prop_assert!(weight <= MAX_TRAILERS, "{weight} bytes: {code} {shown}");
            }
        }
    }
}
