//! A failed call: its row of the table, and what is known about the call. `encode.rs` turns it into
//! a status when the response is written. Only a failure replayed from the record of an earlier
//! call is an encoded status already.

use std::{
    error, fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use prost_types::Struct;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::{
    bounds::{MAX_DESCRIPTION, MAX_FIELD, MAX_ID, MAX_MESSAGE, MAX_REASON, MAX_VIOLATIONS, cut},
    rules::{About, rule},
    table::{Case, Detail, Pushback, Reason, Row},
};
use crate::{
    access::Refusal,
    proto::{StytchRequest, metadata::IDEMPOTENCY_KEY},
    stytch::{Effect, Error, Upstream},
};

/// The reason if Stytch's error type has no characters that a reason may have.
const UNNAMED: &str = "UNNAMED_ERROR";

/// Why a call failed. Clones share it, and the encoded status.
#[derive(Clone, Debug)]
pub struct Failure(Arc<Form>);

#[derive(Clone, Debug)]
pub(super) enum Form {
    /// The failure of this call.
    Made {
        parts: Box<Parts>,
        /// Encoded once, because a replay must be identical to the byte.
        written: OnceLock<Status>,
    },
    /// The failure of an earlier call with the same idempotency key, from its record.
    Recorded { status: Status, facts: Facts },
}

/// The content of a failure, with its row of the table.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) case: Case,
    pub(super) row: &'static Row,
    pub(super) code: Code,
    /// What is known about the call. That may be less than the row says, if a client library
    /// retried it.
    pub(super) upstream: Upstream,
    /// The part of the message after the stable one.
    pub(super) more: String,
    pub(super) details: ErrorDetails,
    pub(super) violations: Vec<FieldViolation>,
    /// The number of violations that are not listed.
    pub(super) unlisted: usize,
    pub(super) http_status: Option<u16>,
    pub(super) error_type: Option<String>,
    /// Stytch's error type as a reason; `None` if it has no characters that a reason may have.
    pub(super) reason: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) help: Option<String>,
    pub(super) wait: Option<Duration>,
    pub(super) extras: Option<Struct>,
}

/// What a failure tells the audit trail about its call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What is known about the call.
    pub upstream: Option<Upstream>,
    /// Stytch's error type.
    pub error_type: Option<String>,
    /// Stytch's request id.
    pub request_id: Option<String>,
}

impl From<Case> for Failure {
    fn from(case: Case) -> Self {
        let row = case.row();
        let wait = match row.pushback {
            Pushback::After(wait) => Some(wait),
            Pushback::Unset | Pushback::Never | Pushback::RetryAfter => None,
        };
        Self::made(Parts {
            case,
            row,
            code: row.code,
            upstream: row.upstream,
            more: String::new(),
            details: ErrorDetails::new(),
            violations: Vec::new(),
            unlisted: 0,
            http_status: None,
            error_type: None,
            reason: None,
            request_id: None,
            help: None,
            wait,
            extras: None,
        })
    }
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Unknown(why) => Self::from(Case::CallerUnknown).saying(why),
            Refusal::KeysUnavailable => Case::CallerKeysUnavailable.into(),
            Refusal::MethodNotAllowed => {
                Self::from(Case::CallerNotAllowed).saying("the caller may not call this method")
            }
            Refusal::OrganizationNotAllowed => Self::from(Case::CallerNotAllowed)
                .saying("the caller may not act for this organization, as the request spells it"),
            Refusal::RateLimited(wait) => Self::from(Case::CallerRateLimited).after(*wait),
        }
    }
}

impl Failure {
    /// Creates the failure of a call that failed upstream.
    pub fn upstream(error: &Error, effect: Effect, request: &dyn StytchRequest) -> Self {
        Self::from(Case::of(error, effect)).with(|parts| parts.describe(error, request))
    }

    /// Creates the failure for an invalid request: its violations, and how many more there are.
    pub fn invalid(violations: Vec<FieldViolation>, more: usize) -> Self {
        Self::from(Case::InvalidRequest).with(|parts| parts.list(violations, more))
    }

    /// Creates the failure for an idempotency key that was used for another request.
    pub fn key_reused() -> Self {
        let violation = FieldViolation::new(IDEMPOTENCY_KEY, "was used for another request");
        Self::from(Case::KeyReused).with(|parts| parts.list(vec![violation], 0))
    }

    /// Creates the failure for a deadline that passed in this service. `sent` says whether the
    /// request may have been sent.
    pub fn deadline_exceeded(sent: bool) -> Self {
        Self::from(if sent { Case::DeadlineUnknown } else { Case::DeadlineNotSent })
    }

    /// Creates the failure for an error that tonic found before the call reached a handler.
    pub fn of_transport(status: &Status) -> Self {
        let case = match status.code() {
            Code::OutOfRange => Case::TooLarge,
            Code::Unimplemented => Case::Unimplemented,
            Code::NotFound => Case::ServiceUnknown,
            _ => Case::Malformed,
        };
        Self::from(case).saying(status.message()).with(|parts| parts.code = status.code())
    }

    /// Creates the failure from the record of an earlier call.
    pub fn recorded(status: Status) -> Self {
        let facts = Facts::read(&status);
        Self(Arc::new(Form::Recorded { status, facts }))
    }

    fn made(parts: Parts) -> Self {
        Self(Arc::new(Form::Made { parts: Box::new(parts), written: OnceLock::new() }))
    }

    /// Adds text after the stable part of the message.
    #[must_use]
    pub fn saying(self, more: &str) -> Self {
        self.with(|parts| cut(more, MAX_MESSAGE).clone_into(&mut parts.more))
    }

    /// Replaces the delay before a retry that the row gives.
    #[must_use]
    pub(super) fn after(self, wait: Duration) -> Self {
        self.with(|parts| parts.wait = Some(wait))
    }

    /// Makes the outcome of the call unknown.
    #[must_use]
    pub(super) fn of_unknown_outcome(self) -> Self {
        self.with(|parts| parts.upstream = Upstream::Unknown)
    }

    /// Returns the gRPC status code.
    pub fn code(&self) -> Code {
        match &*self.0 {
            Form::Made { parts, .. } => parts.code,
            Form::Recorded { status, .. } => status.code(),
        }
    }

    /// Returns the reason in `ErrorInfo`.
    pub fn reason(&self) -> String {
        match &*self.0 {
            Form::Made { parts, .. } => match parts.row.reason {
                Reason::Ours(reason) => reason.to_owned(),
                Reason::ErrorType => parts.reason_or_unnamed().to_owned(),
            },
            Form::Recorded { status, .. } => {
                status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
            }
        }
    }

    /// Returns what the failure tells the audit trail about its call.
    pub fn facts(&self) -> Facts {
        match &*self.0 {
            Form::Made { parts, .. } => Facts {
                upstream: Some(parts.upstream),
                error_type: parts.error_type.clone(),
                request_id: parts.request_id.clone(),
            },
            Form::Recorded { facts, .. } => facts.clone(),
        }
    }

    /// Returns what is known of this attempt, whatever earlier attempts of the call may have done.
    /// Of a recorded failure, that is what was known of the call that it was recorded for.
    pub fn known(&self) -> Upstream {
        match &*self.0 {
            Form::Made { parts, .. } => parts.row.upstream,
            Form::Recorded { facts, .. } => facts.upstream.unwrap_or(Upstream::Unknown),
        }
    }

    /// Returns the row of the table. A recorded failure has none.
    pub fn case(&self) -> Option<Case> {
        match &*self.0 {
            Form::Made { parts, .. } => Some(parts.case),
            Form::Recorded { .. } => None,
        }
    }

    /// Whether a retry with the same idempotency key gets this failure again
    /// ([`Row::is_remembered`]).
    pub fn is_remembered(&self) -> bool {
        match &*self.0 {
            Form::Made { parts, .. } => parts.row.is_remembered(),
            // It was recorded, so it is.
            Form::Recorded { .. } => true,
        }
    }

    pub(super) fn form(&self) -> &Form {
        &self.0
    }

    /// Changes the content of a failure of this call. A recorded one stays as it is.
    pub(super) fn with(self, change: impl FnOnce(&mut Parts)) -> Self {
        match Arc::unwrap_or_clone(self.0) {
            Form::Made { mut parts, .. } => {
                change(&mut parts);
                Self::made(*parts)
            }
            recorded @ Form::Recorded { .. } => Self(Arc::new(recorded)),
        }
    }
}

impl Facts {
    /// Reads the facts from the details of an encoded status.
    fn read(status: &Status) -> Self {
        let mut metadata =
            status.get_details_error_info().map(|info| info.metadata).unwrap_or_default();
        Self {
            upstream: metadata.remove("upstream").and_then(|text| Upstream::from_name(&text)),
            error_type: metadata.remove("error_type"),
            request_id: status.get_details_request_info().map(|info| info.request_id),
        }
    }
}

impl Parts {
    /// Lists violations, in addition to which there are `more`.
    fn list(&mut self, violations: Vec<FieldViolation>, more: usize) {
        self.unlisted = more + violations.len().saturating_sub(MAX_VIOLATIONS);
        let bounded = |violation: FieldViolation| {
            let field = cut(&violation.field, MAX_FIELD);
            FieldViolation::new(field, cut(&violation.description, MAX_DESCRIPTION))
        };
        self.violations = violations.into_iter().take(MAX_VIOLATIONS).map(bounded).collect();
    }

    /// Adds the content of the upstream error.
    fn describe(&mut self, error: &Error, request: &dyn StytchRequest) {
        self.http_status = error.http_status().map(|status| status.as_u16());
        self.request_id = error.request_id().map(ToOwned::to_owned);
        if let Error::CircuitOpen { wait, sent: false } = error {
            self.wait = Some(*wait);
        }
        match self.row.pushback {
            Pushback::RetryAfter => self.wait = error.retry_after(),
            Pushback::After(_) => self.wait = self.wait.max(error.retry_after()),
            Pushback::Unset | Pushback::Never => {}
        }
        let Some(api) = error.api() else { return };

        self.error_type = Some(api.error_type.clone()).filter(|it| !it.is_empty());
        self.reason = reason(&api.error_type);
        let about = rule(&api.error_type).map_or(About::Nothing, |(_, about)| about);
        self.detail(about, request);
        // What Stytch says about this service's credentials concerns only the operator.
        if self.row.reason != Case::CredentialsRejected.row().reason {
            cut(&api.error_message, MAX_MESSAGE).clone_into(&mut self.more);
            self.help = Some(api.error_url.clone()).filter(|url| !url.is_empty());
            self.extras.clone_from(&api.error_details);
        }
    }

    /// Adds the error detail that the row asks for.
    fn detail(&mut self, about: About<'_>, request: &dyn StytchRequest) {
        let message = self.row.message;
        let member = || format!("member:{}", cut(request.member_id(), MAX_ID));
        match (self.row.detail, about) {
            (Detail::Nothing, _)
            | (Detail::BadRequest, About::Nothing)
            | (Detail::ResourceInfo, About::Nothing | About::Proofs) => {}
            (Detail::BadRequest, About::Name(field)) => {
                self.details.add_bad_request_violation(cut(field, MAX_FIELD), message);
            }
            (Detail::BadRequest, About::Proofs) => {
                for field in proofs(request) {
                    self.details.add_bad_request_violation(field, message);
                }
            }
            (Detail::ResourceInfo, About::Name(kind)) => {
                let id = match kind {
                    "organization" => request.organization_id(),
                    "member" | "totp" | "recovery_codes" => request.member_id(),
                    _ => "",
                };
                let (kind, owner) = (cut(kind, MAX_FIELD), "");
                self.details.set_resource_info(kind, cut(id, MAX_ID), owner, message);
            }
            (Detail::PreconditionFailure, _) => {
                let reason = self.reason_or_unnamed().to_owned();
                self.details.add_precondition_failure_violation(reason, member(), message);
            }
            (Detail::QuotaFailure, _) => {
                self.details.add_quota_failure_violation(member(), message);
            }
        }
    }

    /// Returns Stytch's error type as a reason.
    pub(super) fn reason_or_unnamed(&self) -> &str {
        self.reason.as_deref().unwrap_or(UNNAMED)
    }
}

/// Returns the fields of the request that prove the end user's login: those that are set, or all of
/// them if none is.
fn proofs(request: &dyn StytchRequest) -> impl Iterator<Item = &'static str> {
    let proofs = request.proofs();
    let has_any = proofs.iter().any(|(_, is_set)| *is_set);
    proofs.into_iter().filter(move |(_, is_set)| *is_set || !has_any).map(|(field, _)| field)
}

/// Converts an error type to a reason: `[A-Z][A-Z0-9_]+[A-Z0-9]`, at most 63 characters. Returns
/// `None` if it has no characters that a reason may have.
fn reason(error_type: &str) -> Option<String> {
    let name = error_type.trim_end_matches('_').to_ascii_uppercase();
    let is_reason = name.len() >= 3 && name.starts_with(|first: char| first.is_ascii_uppercase());
    let reason = match (name.as_str(), is_reason) {
        ("", _) => return None,
        (_, true) => name,
        (_, false) => format!("TYPE_{name}"),
    };
    Some(cut(&reason, MAX_REASON).trim_end_matches('_').to_owned())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Form::Made { parts, .. } => f.write_str(&parts.message()),
            Form::Recorded { status, .. } => f.write_str(status.message()),
        }
    }
}

impl error::Error for Failure {}
