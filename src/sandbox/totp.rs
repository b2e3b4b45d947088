//! The operations on TOTPs.

use std::time::Duration;

use serde_json::{Value, json};
use totp_rs::Secret;

use super::{
    error::ApiError,
    fields::Fields,
    mint,
    seed::text,
    session::Wish,
    store::{Place, Store},
};

const DEFAULT_EXPIRATION: u64 = 60;
/// More recovery codes than anybody has.
const MAX_RECOVERY_CODES: usize = 100;
const MAX_CODE: usize = 128;

impl Store {
    /// `POST /v1/b2b/totp`. A pending registration is replaced.
    pub(super) fn create_totp(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let expiration =
            fields.minutes("expiration_minutes", 5..=1440, ApiError::INVALID_EXPIRATION)?;
        let place = self.find(fields)?;
        self.check_may_enrol(place)?;
        let proof = self.proof(fields, place)?;
        let member = &mut self.members[place.member];
        if member.has_phone() && proof.is_none() {
            return Err(ApiError::PROOF_REQUIRED);
        }
        if member.has_active_totp() {
            return Err(ApiError::ACTIVE_TOTP_EXISTS);
        }
        let secret = mint::secret();
        let recovery_codes = mint::recovery_codes();
        let registration_id = mint::registration_id();
        let uri = mint::uri(
            &self.project.name,
            text(&self.organizations[place.organization], "organization_name").unwrap_or_default(),
            text(&member.object, "email_address").unwrap_or_default(),
            &secret,
        );
        let minutes = expiration.unwrap_or(DEFAULT_EXPIRATION);
        let end = (self.clock)() + Duration::from_secs(60 * minutes);
        let key = key(&secret).ok_or(ApiError::INTERNAL)?;
        member.register(&registration_id, key, recovery_codes.clone(), Some(end));
        Ok(self.changed(
            place,
            json!({
                "totp_registration_id": registration_id,
                "secret": secret,
                // Drawn once the store is free.
                "qr_code": uri,
                "recovery_codes": recovery_codes,
            }),
        ))
    }

    /// `POST /v1/b2b/totp/authenticate`.
    pub(super) fn authenticate_totp(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let code = fields.required("code")?;
        let wish = Wish::of(fields)?;
        let make_default = fields.boolean("set_default_mfa")?;
        let enrolled = match fields.text("set_mfa_enrollment")? {
            None => None,
            Some("enroll") => Some(true),
            Some("unenroll") => Some(false),
            Some(_) => return Err(ApiError::BAD_REQUEST),
        };
        let place = self.find(fields)?;
        self.check_may_authenticate(place)?;
        let proof = self.proof(fields, place)?.ok_or(ApiError::NO_PROOF)?;
        let now = self.now();
        let required = self.organizations[place.organization]["mfa_policy"] == "REQUIRED_FOR_ALL";
        let member = &mut self.members[place.member];
        let factor = member.spend_code(code, now)?;
        if let Some(enrolled) = if required { Some(true) } else { enrolled } {
            member.set([("mfa_enrolled", json!(enrolled))]);
        }
        if make_default || member.object["default_mfa_method"] == "" {
            member.set([("default_mfa_method", json!("totp"))]);
        }
        let session = self.complete(proof, place, factor, &wish);
        Ok(self.changed(place, session.into()))
    }

    /// `POST /v1/b2b/totp/migrate`. A pending registration is replaced.
    pub(super) fn migrate_totp(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let secret = fields.required("secret")?;
        let key = key(secret).ok_or(ApiError::BAD_REQUEST)?;
        let mut recovery_codes = fields.texts("recovery_codes")?;
        let sane = |code: &String| !code.is_empty() && code.len() <= MAX_CODE;
        if recovery_codes.len() > MAX_RECOVERY_CODES || !recovery_codes.iter().all(sane) {
            return Err(ApiError::BAD_REQUEST);
        }
        let place = self.find(fields)?;
        self.check_may_enrol(place)?;
        let member = &mut self.members[place.member];
        if member.has_active_totp() {
            return Err(ApiError::ACTIVE_TOTP_EXISTS);
        }
        if recovery_codes.is_empty() {
            recovery_codes = mint::recovery_codes();
        }
        let registration_id = mint::registration_id();
        member.register(&registration_id, key, recovery_codes.clone(), None);
        Ok(self.changed(
            place,
            json!({
                "totp_registration_id": registration_id,
                "recovery_codes": recovery_codes,
                "organization_id": self.organizations[place.organization]["organization_id"],
            }),
        ))
    }

    /// `DELETE /v1/b2b/organizations/{organization_id}/members/{member_id}/totp`.
    pub(super) fn delete_totp(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let place = self.find(fields)?;
        if let Some(actor) = self.actor(fields, place)? {
            if actor.organization != place.organization {
                return Err(ApiError::SESSION_OF_ANOTHER_ORGANIZATION);
            }
            let is_admin = self.members[actor.member].object["is_admin"] == true;
            if actor.member != place.member && !is_admin {
                return Err(ApiError::SESSION_NOT_AUTHORIZED);
            }
        }
        let now = self.now();
        self.members[place.member].unregister(now)?;
        Ok(self.changed(place, json!({})))
    }

    /// Whether the member may get a TOTP at all.
    fn check_may_enrol(&self, place: Place) -> Result<(), ApiError> {
        self.check_may_authenticate(place)?;
        let organization = &self.organizations[place.organization];
        let member = &self.members[place.member].object;
        let totp_is_allowed = organization["mfa_methods"] != "RESTRICTED"
            || organization["allowed_mfa_methods"]
                .as_array()
                .is_some_and(|methods| methods.iter().any(|method| method == "totp"));
        match totp_is_allowed || member["is_breakglass"] == true {
            true => Ok(()),
            false => Err(ApiError::MFA_METHOD_RESTRICTED),
        }
    }

    /// Whether the member may log in at all.
    pub(super) fn check_may_authenticate(&self, place: Place) -> Result<(), ApiError> {
        let member = &self.members[place.member];
        if member.is_locked() {
            Err(ApiError::LOCKED)
        } else if member.object["status"] != "active" {
            Err(ApiError::MEMBER_NOT_ACTIVE)
        } else {
            Ok(())
        }
    }
}

/// A secret in base32, as people write it.
pub(super) fn key(secret: &str) -> Option<Secret> {
    let secret = secret.to_uppercase().replace(' ', "");
    Secret::try_from_base32(secret.trim_end_matches('=')).ok().filter(|_| !secret.is_empty())
}
