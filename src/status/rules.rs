//! Finds the row for an error of Stytch: by its `error_type`, then by a prefix or suffix of that,
//! then by the HTTP status. Never by the message.

use super::table::Case;
use crate::stytch::{ApiError, Effect, Error, Unreadable};

impl Case {
    /// Returns the case of an upstream error.
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
            Error::Foreign { .. } => Self::ForeignResponse,
            Error::Unreadable { why: Unreadable::Empty, .. } => Self::EmptyResponse,
            Error::Unreadable { .. } => Self::UnreadableResponse,
            Error::Rejected(api) => Self::of_rejection(api),
        }
    }

    fn of_rejection(api: &ApiError) -> Self {
        let rule = rule(&api.error_type).map(|(case, _)| case);
        rule.unwrap_or(match api.http_status.as_u16() {
            400 | 422 => Self::InvalidArgument,
            // It is about the end user's proof. UNAUTHENTICATED would tell the caller to renew its
            // own token.
            401 | 403 => Self::PermissionDenied,
            404 => Self::NotFound,
            409 => Self::Conflict,
            429 => Self::RateLimited,
            _ => Self::FailedPrecondition,
        })
    }
}

/// A rule for error types that [`TYPES`] does not list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Affix {
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

pub(super) const AFFIXES: [(Affix, Case); 7] = [
    (Affix::Suffix("_not_found"), Case::NotFound),
    (Affix::Suffix("_exists"), Case::AlreadyExists),
    (Affix::Prefix("duplicate_"), Case::AlreadyExists),
    (Affix::Suffix("_already_used"), Case::AlreadyExists),
    (Affix::Suffix("_too_long"), Case::InvalidArgument),
    (Affix::Prefix("session_authorization_"), Case::PermissionDenied),
    (Affix::Prefix("invalid_"), Case::InvalidArgument),
];

/// What an error is about, according to its type.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    /// The type does not say.
    Nothing,
    /// The name of a request field for `BadRequest`, of a kind of object for `ResourceInfo`.
    Name(&'a str),
    /// The fields that prove the end user's login.
    Proofs,
}

/// The known error types of Stytch: the case of each, and what it is about.
#[rustfmt::skip] // a type is a line
pub(super) const TYPES: [(&str, Case, About<'_>); 41] = [
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
    // Stytch uses this for session tokens and for intermediate session tokens.
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

/// Further types that Stytch documents for these calls. An affix or the HTTP status decides their
/// cases.
const DOCUMENTED: [&str; 15] = [
    "bad_request",
    "client_closed_request",
    "intermediate_session_not_found",
    "internal_server_error",
    "invalid_organization_id",
    "invalid_totp_id",
    "member_not_found",
    "organization_not_found",
    "recovery_codes_not_found",
    "server_unavailable",
    "session_authorization_error",
    "session_authorization_tenancy_error",
    "session_not_found",
    "totp_not_found",
    "user_not_found",
];

/// Returns all known error types of Stytch.
pub fn error_types() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(name, ..)| *name).chain(DOCUMENTED)
}

/// Finds the case of an error type and what it is about, by the whole name or by an affix.
pub(super) fn rule(error_type: &str) -> Option<(Case, About<'_>)> {
    let known = TYPES.iter().find(|(known, ..)| *known == error_type);
    known.map(|(_, case, about)| (*case, *about)).or_else(|| {
        AFFIXES.iter().find_map(|(affix, case)| {
            let rest = affix.strip(error_type)?;
            Some((*case, if rest.is_empty() { About::Nothing } else { About::Name(rest) }))
        })
    })
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
