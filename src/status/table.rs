//! The table: one row for each way in which a call can fail.
//!
//! `UNAVAILABLE` means that a retry is safe, and no other code means that. If the outcome is
//! unknown, the pushback tells client libraries not to retry.

use std::time::Duration;

use tonic::Code;

use crate::stytch::{OPEN_FOR, Upstream};

/// How long a caller should wait before it retries when the server is full, before jitter.
const OVERLOADED_WAIT: Duration = Duration::from_millis(100);
/// How long a caller should wait before it retries when Stytch cannot be reached, before jitter.
const UNREACHABLE_WAIT: Duration = Duration::from_millis(500);

/// Reasons that several rows share.
const UNREADABLE: Reason = Ours("UPSTREAM_ANSWER_UNREADABLE");
const OUTCOME: Reason = Ours("OUTCOME_UNKNOWN");
const DEADLINE: Reason = Ours("DEADLINE_EXCEEDED");

/// What a [`Case`] becomes for the caller.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// When it happens, in the words of `docs/errors.md`.
    pub cause: &'static str,
    /// The gRPC status code.
    pub code: Code,
    /// The reason in `ErrorInfo`.
    pub reason: Reason,
    /// What is known about the call.
    pub upstream: Upstream,
    /// What client libraries that retry should do.
    pub pushback: Pushback,
    /// The error detail in addition to `ErrorInfo`.
    pub detail: Detail,
    /// The stable part of the status message. If empty, whatever found the fault writes the whole
    /// message.
    pub message: &'static str,
}

/// Where the reason in `ErrorInfo` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This service defines it.
    Ours(&'static str),
    /// Stytch defines it: its `error_type` in upper case.
    ErrorType,
}

/// The trailer `grpc-retry-pushback-ms`, and `RetryInfo` with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Not sent: the retry policy of the client decides.
    Unset,
    /// Do not retry.
    Never,
    /// Retry after this long, with jitter added.
    After(Duration),
    /// Retry after Stytch's `Retry-After`, with jitter added. Without that header, like
    /// [`Pushback::Unset`].
    RetryAfter,
}

/// A standard error detail, for programs to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// None.
    Nothing,
    /// `BadRequest`: the field, if the error names one.
    BadRequest,
    /// `ResourceInfo`: the kind of object, and the id of the organization or member it belongs to.
    ResourceInfo,
    /// `PreconditionFailure`.
    PreconditionFailure,
    /// `QuotaFailure`.
    QuotaFailure,
}

use Detail::{BadRequest, Nothing, PreconditionFailure, QuotaFailure, ResourceInfo};
use Pushback::{After, Never, RetryAfter, Unset};
use Reason::{ErrorType, Ours};
use Upstream::{NotSent, Rejected, Unknown};

/// Generates the enum, the list of its cases and the rows from one table. A row is the cause, then
/// `Case: code, reason, upstream, pushback, detail, message`.
macro_rules! rows {
    ($(
        $(#[doc = $cause:literal])+
        $case:ident: $code:ident, $reason:expr, $upstream:expr, $pushback:expr, $detail:expr, $message:literal;
    )+) => {
        /// A way in which a call can fail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Case {
            $($(#[doc = $cause])+ $case,)+
        }

        impl Case {
            /// Every case, in the order in which `docs/errors.md` lists them.
            pub const ALL: &[Self] = &[$(Self::$case),+];
        }

        static ROWS: &[Row] = &[$(Row {
            cause: concat!($($cause),+).trim_ascii(),
            code: Code::$code,
            reason: $reason,
            upstream: $upstream,
            pushback: $pushback,
            detail: $detail,
            message: $message,
        }),+];
    };
}

rows! {
    /// The caller is not authenticated: no valid client certificate or token
    CallerUnknown: Unauthenticated, Ours("CALLER_UNKNOWN"), NotSent, Unset, Nothing,
        "the caller is not authenticated";
    /// The call carries a JWT, and the issuer's JWKS has not been fetched yet; nothing was sent
    CallerKeysUnavailable: Unavailable, Ours("CALLER_KEYS_UNAVAILABLE"), NotSent, After(UNREACHABLE_WAIT), Nothing,
        "the issuer's JWKS is not available; nothing was sent";
    /// The policy does not allow the caller this method or this organization
    CallerNotAllowed: PermissionDenied, Ours("CALLER_NOT_ALLOWED"), NotSent, Unset, Nothing,
        "the policy does not allow this call";
    /// The caller exceeds the rate that the policy gives it
    CallerRateLimited: ResourceExhausted, Ours("CALLER_RATE_LIMITED"), NotSent, After(OVERLOADED_WAIT), Nothing,
        "the caller exceeds its rate";
    /// The request is incomplete or out of range; nothing was sent
    InvalidRequest: InvalidArgument, Ours("INVALID_REQUEST"), NotSent, Unset, BadRequest,
        "the request is invalid";
    /// The idempotency key was used for another request
    KeyReused: InvalidArgument, Ours("IDEMPOTENCY_KEY_REUSED"), NotSent, Unset, BadRequest,
        "the idempotency key was used for another request";
    /// Stytch refuses a value as invalid
    InvalidArgument: InvalidArgument, ErrorType, Rejected, Unset, BadRequest,
        "Stytch refuses the request as invalid";
    /// A passcode or recovery code is wrong or already used
    WrongCode: InvalidArgument, ErrorType, Rejected, Unset, BadRequest,
        "the code is not accepted";
    /// The object exists already
    AlreadyExists: AlreadyExists, ErrorType, Rejected, Unset, ResourceInfo,
        "it exists already";
    /// A member, organization, session, TOTP or set of recovery codes does not exist
    NotFound: NotFound, ErrorType, Rejected, Unset, ResourceInfo,
        "not found";
    /// The state of the member or organization does not allow the call
    FailedPrecondition: FailedPrecondition, ErrorType, Rejected, Unset, PreconditionFailure,
        "not allowed in the current state";
    /// The end user's session does not allow it, or the organization is suspended
    PermissionDenied: PermissionDenied, ErrorType, Rejected, Unset, Nothing,
        "not permitted";
    /// A concurrent change was made (HTTP 409)
    Conflict: Aborted, ErrorType, Rejected, Unset, Nothing,
        "a concurrent change was made";
    /// Stytch's rate limit is exceeded
    RateLimited: ResourceExhausted, ErrorType, Rejected, RetryAfter, QuotaFailure,
        "Stytch's rate limit is exceeded";
    /// The member is locked after too many failed attempts
    LockedOut: ResourceExhausted, ErrorType, Rejected, Never, QuotaFailure,
        "the member is locked";
    /// Stytch refuses this service's own credentials
    CredentialsRejected: Internal, Ours("UPSTREAM_CREDENTIALS_REJECTED"), Rejected, Never, Nothing,
        "Stytch refuses the credentials of this service";
    /// Stytch does not know the route: this service has a wrong base URL
    WrongRoute: Internal, ErrorType, Rejected, Never, Nothing,
        "the base URL of this service is wrong";
    /// A 429 that is not Stytch's: a rate limit in front of Stytch, which did not forward the
    /// request
    Throttled: ResourceExhausted, Ours("UPSTREAM_RATE_LIMITED"), Rejected, RetryAfter, Nothing,
        "a rate limit in front of Stytch is exceeded; nothing was done";
    /// A 407, 413, 414, 421, 425, 431 or 511 that is not Stytch's: something in front of Stytch did
    /// not forward the request
    Intercepted: Internal, Ours("UPSTREAM_REQUEST_INTERCEPTED"), Rejected, Never, Nothing,
        "something in front of Stytch refuses the requests of this service; nothing was done";
    /// A redirect, or another 4xx that is not Stytch's: probably a wrong base URL or a proxy
    ForeignResponse: Internal, UNREADABLE, Unknown, Never, Nothing,
        "the response is not from Stytch's API; check the base URL of this service";
    /// A success that is truncated, too long, not JSON, or lacks its essential field
    UnreadableResponse: Internal, UNREADABLE, Unknown, Never, Nothing,
        "Stytch's response cannot be read; the outcome is unknown";
    /// A success without a body (204, 205, empty): the call most likely took effect, but Stytch
    /// never answers like this
    EmptyResponse: Internal, UNREADABLE, Unknown, Never, Nothing,
        "a success without a body, which Stytch never sends; the call most likely took effect";
    /// Stytch failed (5xx, 499), or the connection broke after the request was sent
    OutcomeUnknown: Unknown, OUTCOME, Unknown, Never, Nothing,
        "the outcome is unknown; the call may have taken effect";
    /// The same for a call that only reads, after the retries of this service
    ReadFailed: Unavailable, OUTCOME, Unknown, After(UNREACHABLE_WAIT), Nothing,
        "Stytch did not answer the call; a retry is safe";
    /// Stytch cannot be reached (connection refused, DNS, TLS) in three attempts; nothing was sent
    Unreachable: Unavailable, Ours("UPSTREAM_UNREACHABLE"), NotSent, After(UNREACHABLE_WAIT), Nothing,
        "Stytch cannot be reached; nothing was sent";
    /// Stytch has not been responding, and the circuit breaker is open; nothing was sent
    CircuitOpen: Unavailable, Ours("CIRCUIT_OPEN"), NotSent, After(OPEN_FOR), Nothing,
        "the circuit breaker is open: Stytch has not been responding; nothing was sent";
    /// The call carries an idempotency key, and Redis is unavailable; nothing was sent
    NoIdempotencyStore: Unavailable, Ours("IDEMPOTENCY_STORE_UNAVAILABLE"), NotSent, After(UNREACHABLE_WAIT), Nothing,
        "the idempotency store is unavailable; nothing was sent";
    /// Nobody reads the audit trail, and as many calls as may wait for it already do; nothing was
    /// sent
    AuditTrailBlocked: Unavailable, Ours("AUDIT_TRAIL_BLOCKED"), NotSent, After(UNREACHABLE_WAIT), Nothing,
        "the audit trail is blocked; nothing was sent";
    /// Time ran out before the request was sent (the caller's deadline, or the ten seconds in which
    /// a message must arrive)
    DeadlineNotSent: DeadlineExceeded, DEADLINE, NotSent, Unset, Nothing,
        "time ran out; nothing was sent";
    /// Time ran out after the request was sent (the caller's deadline, the upstream timeout, HTTP
    /// 408)
    DeadlineUnknown: DeadlineExceeded, DEADLINE, Unknown, Never, Nothing,
        "time ran out; the outcome is unknown";
    /// Too many calls are in flight in this process, or on this connection; nothing was sent
    Overloaded: ResourceExhausted, Ours("OVERLOADED"), NotSent, After(OVERLOADED_WAIT), Nothing,
        "too many calls in flight; nothing was sent";
    /// A bug in this service
    Panicked: Internal, Ours("INTERNAL_ERROR"), Unknown, Never, Nothing,
        "internal error; the outcome is unknown";
    /// The message or its metadata is larger than 16 KiB
    TooLarge: OutOfRange, Ours("REQUEST_TOO_LARGE"), NotSent, Unset, Nothing,
        "";
    /// The request is not a valid gRPC or protobuf message, or has more than one
    Malformed: Internal, Ours("MALFORMED_REQUEST"), NotSent, Unset, Nothing,
        "";
    /// No such service or method, or an unknown compression
    Unimplemented: Unimplemented, Ours("UNIMPLEMENTED"), NotSent, Unset, Nothing,
        "";
    /// A health check of a service that does not exist here
    ServiceUnknown: NotFound, Ours("SERVICE_UNKNOWN"), NotSent, Unset, Nothing,
        "";
    /// The connection of the stream (health watch, reflection) is closing; reconnect
    ServerClosing: Unavailable, Ours("SERVER_CLOSING"), NotSent, After(OVERLOADED_WAIT), Nothing,
        "the connection is closing";
}

impl Case {
    /// Returns the row of this case.
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

impl Row {
    /// Whether a retry with the same idempotency key gets the same response rather than making a
    /// new call. It does if the outcome is unknown or Stytch refused for good. It does not after a
    /// temporary refusal, such as a rate limit or a conflict, or one that is this service's fault:
    /// the next attempt may succeed.
    pub fn is_remembered(&self) -> bool {
        match self.upstream {
            NotSent => false,
            Unknown => true,
            Rejected => match self.code {
                Code::Aborted | Code::Internal => false,
                Code::ResourceExhausted => self.pushback == Never,
                _ => true,
            },
        }
    }
}
