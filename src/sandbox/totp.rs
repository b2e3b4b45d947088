//! The operations on TOTPs.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    authentication,
    error::ApiError,
    fields::Fields,
    member::{MemberIndex, decode_secret},
    mint,
    object::{allows_totp, text},
    session::SessionOptions,
    store::Store,
};

const DEFAULT_EXPIRATION_MINUTES: u64 = 60;
/// Limits for the recovery codes of a Migrate, above any real ones.
const MAX_RECOVERY_CODES: usize = 100;
const MAX_RECOVERY_CODE_BYTES: usize = 128;

/// `POST /v1/b2b/totp`. Replaces a pending registration.
pub(super) fn create(store: &mut Store, fields: &Fields) -> Result<Value, ApiError> {
    let expiration =
        fields.minutes("expiration_minutes", 5..=1440, ApiError::INVALID_EXPIRATION)?;
    let index = store.find(fields)?;
    check_may_enrol(store, index)?;
    let token = authentication::member_token(store, fields, index)?;
    let member = &mut store.members[index.member];
    if member.has_verified_phone() && token.is_none() {
        return Err(ApiError::MATCHING_SESSION_REQUIRED);
    }
    if member.has_active_totp() {
        return Err(ApiError::ACTIVE_TOTP_EXISTS);
    }
    let secret = mint::secret();
    let recovery_codes = mint::recovery_codes();
    let registration_id = mint::registration_id();
    let uri = mint::uri(
        &store.project.name,
        text(&store.organizations[index.organization], "organization_name").unwrap_or_default(),
        text(&member.object, "email_address").unwrap_or_default(),
        &secret,
    );
    let minutes = expiration.unwrap_or(DEFAULT_EXPIRATION_MINUTES);
    let expires_at = store.clock.now() + Duration::from_secs(60 * minutes);
    let decoded = decode_secret(&secret).ok_or(ApiError::INTERNAL)?;
    member.register(&registration_id, decoded, recovery_codes.clone(), Some(expires_at));
    Ok(store.changed_response(
        index,
        json!({
            "totp_registration_id": registration_id,
            "secret": secret,
            // `routes` draws the QR code once the store is unlocked.
            "qr_code": uri,
            "recovery_codes": recovery_codes,
        }),
    ))
}

/// `POST /v1/b2b/totp/authenticate`.
pub(super) fn authenticate(store: &mut Store, fields: &Fields) -> Result<Value, ApiError> {
    let code = fields.required("code")?;
    let options = SessionOptions::from_fields(fields)?;
    let make_default = fields.boolean("set_default_mfa")?;
    let enrolled = match fields.text("set_mfa_enrollment")? {
        None => None,
        Some("enroll") => Some(true),
        Some("unenroll") => Some(false),
        Some(_) => return Err(ApiError::BAD_REQUEST),
    };
    let index = store.find(fields)?;
    store.members[index.member].check_may_authenticate()?;
    let token = authentication::member_token(store, fields, index)?
        .ok_or(ApiError::NO_SESSION_ARGUMENTS)?;
    let now = store.now();
    let required = store.organizations[index.organization]["mfa_policy"] == "REQUIRED_FOR_ALL";
    let member = &mut store.members[index.member];
    let factor = member.use_code(code, now)?;
    if let Some(enrolled) = if required { Some(true) } else { enrolled } {
        member.set([("mfa_enrolled", json!(enrolled))]);
    }
    if make_default || member.object["default_mfa_method"] == "" {
        member.set([("default_mfa_method", json!("totp"))]);
    }
    let session = authentication::complete(store, token, index, factor, &options);
    Ok(store.changed_response(index, session.into()))
}

/// `POST /v1/b2b/totp/migrate`. Replaces a pending registration.
pub(super) fn migrate(store: &mut Store, fields: &Fields) -> Result<Value, ApiError> {
    let secret = fields.required("secret")?;
    let secret = decode_secret(secret).ok_or(ApiError::BAD_REQUEST)?;
    let mut recovery_codes = fields.texts("recovery_codes")?;
    let is_valid = |code: &String| !code.is_empty() && code.len() <= MAX_RECOVERY_CODE_BYTES;
    if recovery_codes.len() > MAX_RECOVERY_CODES || !recovery_codes.iter().all(is_valid) {
        return Err(ApiError::BAD_REQUEST);
    }
    let index = store.find(fields)?;
    check_may_enrol(store, index)?;
    let member = &mut store.members[index.member];
    if member.has_active_totp() {
        return Err(ApiError::ACTIVE_TOTP_EXISTS);
    }
    if recovery_codes.is_empty() {
        recovery_codes = mint::recovery_codes();
    }
    let registration_id = mint::registration_id();
    member.register(&registration_id, secret, recovery_codes.clone(), None);
    Ok(store.changed_response(
        index,
        json!({
            "totp_registration_id": registration_id,
            "recovery_codes": recovery_codes,
            "organization_id": store.organizations[index.organization]["organization_id"],
        }),
    ))
}

/// `DELETE /v1/b2b/organizations/{organization_id}/members/{member_id}/totp`.
pub(super) fn delete(store: &mut Store, fields: &Fields) -> Result<Value, ApiError> {
    let index = store.find(fields)?;
    if let Some(actor) = authentication::actor(store, fields, index.organization)? {
        if actor.organization != index.organization {
            return Err(ApiError::SESSION_OF_ANOTHER_ORGANIZATION);
        }
        let is_admin = store.members[actor.member].object["is_admin"] == true;
        if actor.member != index.member && !is_admin {
            return Err(ApiError::SESSION_NOT_AUTHORIZED);
        }
    }
    let now = store.now();
    store.members[index.member].unregister(now)?;
    Ok(store.changed_response(index, json!({})))
}

/// Checks that the member may register a TOTP.
fn check_may_enrol(store: &Store, index: MemberIndex) -> Result<(), ApiError> {
    let member = &store.members[index.member];
    member.check_may_authenticate()?;
    let organization = &store.organizations[index.organization];
    match allows_totp(organization) || member.object["is_breakglass"] == true {
        true => Ok(()),
        false => Err(ApiError::MFA_METHOD_RESTRICTED),
    }
}
