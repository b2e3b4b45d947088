//! Stytch's error responses.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::mint::request_id;

/// One of Stytch's errors: its HTTP status, type and text.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApiError(u16, &'static str, &'static str);

macro_rules! errors {
    ($($name:ident = $status:literal, $error_type:literal, $message:literal;)*) => {
        impl ApiError {
            $(pub(super) const $name: Self = Self($status, $error_type, $message);)*

            const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

// `docs/sandbox.md` lists the statuses and texts that are not confirmed.
errors! {
    MEMBER_NOT_ACTIVE = 400, "action_available_only_for_active_members", "You may not attach an MFA factor to a member that is not active.";
    ACTIVE_TOTP_EXISTS = 400, "active_totp_exists", "Cannot create a new TOTP for the specified user since the user already has an active TOTP. Users may only have one active TOTP at a time.";
    BAD_REQUEST = 400, "bad_request", "The submitted request is invalid.";
    CUSTOM_CLAIMS_TOO_LARGE = 400, "custom_claims_too_large", "The custom claims are larger than four kilobytes.";
    EXPIRED_TOTP = 400, "expired_totp", "The TOTP has expired before its first code.";
    INVALID_EXPIRATION = 400, "invalid_expiration", "The expiration must be from 5 to 1440 minutes.";
    INVALID_PROJECT = 400, "invalid_project_id_authentication", "The project ID provided in the basic authentication header is invalid. Please check to make sure the format is correct and there are no trailing whitespaces. To create a new project or confirm an existing project ID please visit the Stytch dashboard here: https://stytch.com/dashboard/api-keys";
    INVALID_SESSION_DURATION = 400, "invalid_session_duration_minutes", "session_duration_minutes is invalid, should be between 5 to 527040 minutes.";
    INVALID_TOTP_CODE = 400, "invalid_totp_code", "The TOTP code must be six digits.";
    SESSION_OF_ANOTHER_MEMBER = 400, "member_session_member_id_mismatch", "The session belongs to another member.";
    NO_RECOVERY_CODES = 400, "no_active_recovery_code_backed_factor", "The member has no active factor with recovery codes.";
    NO_SESSION_ARGUMENTS = 400, "no_session_arguments", "One of intermediate_session_token, session_token and session_jwt is required.";
    RECOVERY_CODE_USED_AS_TOTP_CODE = 400, "recovery_code_used_as_totp_code", "A recovery code was given as a TOTP code.";
    MATCHING_SESSION_REQUIRED = 400, "session_enforced_factor_matching_session_required", "The member has an active MFA factor, so a session that used it is required.";
    TOO_MANY_SESSION_ARGUMENTS = 400, "too_many_session_arguments", "Only one of session_token, session_jwt and intermediate_session_token may be given.";
    TOTP_CODE_ALREADY_AUTHENTICATED = 400, "totp_code_already_authenticated", "This TOTP code has already been authenticated. Please attempt with the next generated code.";
    TOTP_CODE_USED_AS_RECOVERY_CODE = 400, "totp_code_used_as_recovery_code", "A TOTP code was given as a recovery code.";
    UNABLE_TO_PARSE_JWT = 400, "unable_to_parse_session_jwt", "The session_jwt could not be parsed.";
    UNABLE_TO_AUTHENTICATE_RECOVERY_CODE = 401, "unable_to_authenticate_recovery_code", "The recovery code could not be authenticated.";
    UNABLE_TO_AUTHENTICATE_TOTP = 401, "unable_to_authenticate_totp", "The TOTP code could not be authenticated.";
    UNAUTHORIZED = 401, "unauthorized_credentials", "Unauthorized credentials.";
    MFA_METHOD_RESTRICTED = 403, "operation_restricted_by_organization_mfa_methods", "The organization does not allow this MFA method.";
    SESSION_NOT_AUTHORIZED = 403, "session_authorization_error", "The Member is not authorized to perform the requested action on that resource.";
    SESSION_OF_ANOTHER_ORGANIZATION = 403, "session_authorization_tenancy_error", "The session belongs to another organization.";
    INTERMEDIATE_SESSION_NOT_FOUND = 404, "intermediate_session_not_found", "Intermediate session could not be found.";
    MEMBER_NOT_FOUND = 404, "member_not_found", "Member could not be found.";
    ORGANIZATION_NOT_FOUND = 404, "organization_not_found", "Organization could not be found.";
    RECOVERY_CODES_NOT_FOUND = 404, "recovery_codes_not_found", "Recovery codes could not be found.";
    ROUTE_NOT_FOUND = 404, "route_not_found", "The route provided is not supported.";
    SESSION_NOT_FOUND = 404, "session_not_found", "Session could not be found.";
    TOTP_NOT_FOUND = 404, "totp_not_found", "TOTP could not be found.";
    TOO_MANY_REQUESTS = 429, "too_many_requests", "Too many requests have been made.";
    LOCKED = 429, "user_lock_limit_reached", "The user has been locked out due to too many failed authentication attempts. Please try again later.";
    INTERNAL = 500, "internal_server_error", "Oops, something seems to have gone wrong. If this issue persists, please reach out to support.";
}

impl ApiError {
    /// Returns the response for an error of this type, with the text and, unless `status` is given,
    /// the status of the list above.
    pub(super) fn response(error_type: &str, status: Option<u16>) -> Response {
        let known = Self::ALL.iter().find(|Self(_, known, _)| *known == error_type);
        let (default, message) = known.map_or((400, ""), |Self(status, _, text)| (*status, *text));
        error_response(status.unwrap_or(default), error_type, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(status, error_type, message) = self;
        error_response(status, error_type, message)
    }
}

fn error_response(status: u16, error_type: &str, message: &str) -> Response {
    let body = json!({
        "status_code": status,
        "request_id": request_id(),
        "error_type": error_type,
        "error_message": message,
        "error_url": format!("https://stytch.com/docs/b2b/api/errors/{status}#{error_type}"),
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}
