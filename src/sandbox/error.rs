//! Stytch's error answers.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::totp::request_id;

/// An error by its type, with the status and the text that Stytch gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApiError(u16, &'static str, &'static str);

/// `docs/sandbox.md` lists which of these statuses and texts are not confirmed.
#[rustfmt::skip]
impl ApiError {
    pub(super) const BAD_REQUEST: Self = Self(400, "bad_request", "The submitted request is invalid.");
    pub(super) const INVALID_PROJECT: Self = Self(400, "invalid_project_id_authentication", "The project ID provided in the basic authentication header is invalid. Please check to make sure the format is correct and there are no trailing whitespaces. To create a new project or confirm an existing project ID please visit the Stytch dashboard here: https://stytch.com/dashboard/api-keys");
    pub(super) const UNAUTHORIZED: Self = Self(401, "unauthorized_credentials", "Unauthorized credentials.");
    pub(super) const ROUTE_NOT_FOUND: Self = Self(404, "route_not_found", "The route provided is not supported.");
    pub(super) const INVALID_EXPIRATION: Self = Self(400, "invalid_expiration", "The expiration must be from 5 to 1440 minutes.");
    pub(super) const ORGANIZATION_NOT_FOUND: Self = Self(404, "organization_not_found", "Organization could not be found.");
    pub(super) const MEMBER_NOT_FOUND: Self = Self(404, "member_not_found", "Member could not be found.");
    pub(super) const MEMBER_NOT_ACTIVE: Self = Self(400, "action_available_only_for_active_members", "You may not attach an MFA factor to a member that is not active.");
    pub(super) const ACTIVE_TOTP_EXISTS: Self = Self(400, "active_totp_exists", "Cannot create a new TOTP for the specified user since the user already has an active TOTP. Users may only have one active TOTP at a time.");
    pub(super) const PROOF_REQUIRED: Self = Self(400, "session_enforced_factor_matching_session_required", "The member has an active MFA factor, so a session that used it is required.");
    pub(super) const TOO_MANY_PROOFS: Self = Self(400, "too_many_session_arguments", "Only one of session_token, session_jwt and intermediate_session_token may be given.");
    pub(super) const PROOF_OF_ANOTHER: Self = Self(400, "member_session_member_id_mismatch", "The session belongs to another member.");
    pub(super) const SESSION_NOT_FOUND: Self = Self(404, "session_not_found", "Session could not be found.");
    pub(super) const INTERMEDIATE_SESSION_NOT_FOUND: Self = Self(404, "intermediate_session_not_found", "Intermediate session could not be found.");
    pub(super) const TOO_MANY_REQUESTS: Self = Self(429, "too_many_requests", "Too many requests have been made.");
    pub(super) const LOCKED: Self = Self(429, "user_lock_limit_reached", "The user has been locked out due to too many failed authentication attempts. Please try again later.");
    pub(super) const INTERNAL: Self = Self(500, "internal_server_error", "Oops, something seems to have gone wrong. If this issue persists, please reach out to support.");
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(status, error_type, message) = self;
        let body = json!({
            "status_code": status,
            "request_id": request_id(),
            "error_type": error_type,
            "error_message": message,
            "error_url": format!("https://stytch.com/docs/b2b/api/errors/{status}#{error_type}"),
        });
        let status = StatusCode::from_u16(status).expect("a status of the table above");
        (status, Json(body)).into_response()
    }
}
