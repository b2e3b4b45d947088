//! A member: the object that Stytch's API shows, and the state that it does not show.
//!
//! Whatever changes the state changes the object with it.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::{
    clock::{rfc3339, seconds},
    error::ApiError,
    fault::Fault,
    mint,
    object::{Object, text},
};

/// How many wrong codes in a row lock a member.
const FAILURES_TO_LOCK: u32 = 10;
const LOCK_DURATION: Duration = Duration::from_secs(60 * 60);

/// Where the store holds a member and its organization.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemberIndex {
    pub(super) organization: usize,
    pub(super) member: usize,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) object: Object,
    /// The fault that affects every call for this member.
    pub(super) fault: Option<Fault>,
    totp: Option<Totp>,
    /// Wrong codes since the last right one.
    failures: u32,
    /// When the lock ends. A member that the seed locks may have no end.
    locked_until: Option<SystemTime>,
}

#[derive(Debug)]
struct Totp {
    registration_id: String,
    generator: totp_rs::Totp,
    /// When the registration expires; `None` once a first code has made it active.
    pending_until: Option<SystemTime>,
    /// The time steps of used codes that would still be valid.
    used_steps: Vec<u64>,
    recovery_codes: Vec<String>,
    recovery_codes_id: String,
}

impl Member {
    pub(super) fn new(object: Object, fault: Option<Fault>) -> Self {
        let locked_until =
            text(&object, "lock_expires_at").and_then(|time| humantime::parse_rfc3339(time).ok());
        Self { object, fault, totp: None, failures: 0, locked_until }
    }

    /// Ends a lock and clears the id of a pending registration, if they have expired by `now`.
    pub(super) fn expire(&mut self, now: SystemTime) {
        if self.locked_until.is_some_and(|end| end <= now) {
            self.locked_until = None;
            self.set([
                ("is_locked", json!(false)),
                ("lock_created_at", Value::Null),
                ("lock_expires_at", Value::Null),
            ]);
        }
        if self.totp.as_ref().is_some_and(|totp| totp.has_expired(now)) {
            self.set([("totp_registration_id", json!(""))]);
        }
    }

    /// Registers a TOTP, which replaces an earlier one. It is active at once, unless it is pending.
    pub(super) fn register(
        &mut self,
        registration_id: &str,
        secret: Secret,
        recovery_codes: Vec<String>,
        pending_until: Option<SystemTime>,
    ) {
        self.totp = Some(Totp {
            registration_id: registration_id.to_owned(),
            // SHA-1, six digits, 30 seconds, and one step of tolerance either side. "Noncompliant"
            // because migrated secrets may be shorter than RFC 4226 requires.
            generator: Builder::new().with_secret(secret).build_noncompliant(),
            pending_until,
            used_steps: Vec::new(),
            recovery_codes,
            recovery_codes_id: mint::recovery_codes_id(),
        });
        self.set([("totp_registration_id", json!(registration_id))]);
    }

    /// Removes the TOTP and its recovery codes.
    pub(super) fn unregister(&mut self, now: SystemTime) -> Result<(), ApiError> {
        match self.totp.take() {
            Some(totp) if !totp.has_expired(now) => {}
            _ => return Err(ApiError::TOTP_NOT_FOUND),
        }
        self.set([("totp_registration_id", json!(""))]);
        if self.object["default_mfa_method"] == "totp" {
            let other = if self.has_verified_phone() { "sms_otp" } else { "" };
            self.set([("default_mfa_method", json!(other))]);
        }
        Ok(())
    }

    /// Returns what makes the codes of the TOTP, pending or active, and the steps that are used.
    pub(super) fn generator(&self, now: SystemTime) -> Option<(&totp_rs::Totp, &[u64])> {
        let totp = self.totp.as_ref().filter(|totp| !totp.has_expired(now))?;
        Some((&totp.generator, &totp.used_steps))
    }

    pub(super) fn has_active_totp(&self) -> bool {
        self.totp.as_ref().is_some_and(|totp| totp.pending_until.is_none())
    }

    /// Whether the member has an MFA factor other than TOTP.
    pub(super) fn has_verified_phone(&self) -> bool {
        self.object["mfa_phone_number_verified"] == true
    }

    /// Checks that the member is neither locked nor inactive.
    pub(super) fn check_may_authenticate(&self) -> Result<(), ApiError> {
        if self.object["is_locked"] == true {
            Err(ApiError::LOCKED)
        } else if self.object["status"] != "active" {
            Err(ApiError::MEMBER_NOT_ACTIVE)
        } else {
            Ok(())
        }
    }

    /// Uses a code, which cannot be used again, and returns the factor that it authenticates. The
    /// first code makes a pending registration active.
    pub(super) fn use_code(&mut self, code: &str, now: SystemTime) -> Result<Value, ApiError> {
        let totp = self.totp.as_mut().ok_or(ApiError::TOTP_NOT_FOUND)?;
        if totp.has_expired(now) {
            return Err(ApiError::EXPIRED_TOTP);
        }
        if !looks_like_a_totp_code(code) {
            return Err(match looks_like_a_recovery_code(code) {
                true => ApiError::RECOVERY_CODE_USED_AS_TOTP_CODE,
                false => ApiError::INVALID_TOTP_CODE,
            });
        }
        let Some(step) = totp.generator.check(code, seconds(now)) else {
            return Err(self.fail(now, ApiError::UNABLE_TO_AUTHENTICATE_TOTP));
        };
        if totp.used_steps.contains(&step) {
            return Err(ApiError::TOTP_CODE_ALREADY_AUTHENTICATED);
        }
        totp.used_steps.retain(|used| used.abs_diff(step) <= 2);
        totp.used_steps.push(step);
        totp.pending_until = None;
        let factor = json!({
            "type": "totp",
            "delivery_method": "authenticator_app",
            "authenticator_app_factor": {"totp_id": totp.registration_id},
        });
        self.failures = 0;
        Ok(factor)
    }

    /// Uses a recovery code, which cannot be used again. Returns the factor that it authenticates,
    /// and how many codes are left.
    pub(super) fn use_recovery_code(
        &mut self,
        code: &str,
        now: SystemTime,
    ) -> Result<(Value, usize), ApiError> {
        let codes = self.recovery_codes_mut().ok_or(ApiError::NO_RECOVERY_CODES)?;
        if looks_like_a_totp_code(code) {
            return Err(ApiError::TOTP_CODE_USED_AS_RECOVERY_CODE);
        }
        let Some(position) = codes.iter().position(|valid| valid == code) else {
            return Err(self.fail(now, ApiError::UNABLE_TO_AUTHENTICATE_RECOVERY_CODE));
        };
        codes.remove(position);
        let left = codes.len();
        self.failures = 0;
        let id = self.totp.as_ref().map(|totp| totp.recovery_codes_id.as_str());
        let factor = json!({
            "type": "recovery_codes",
            "delivery_method": "recovery_code",
            "recovery_code_factor": {"totp_recovery_code_id": id},
        });
        Ok((factor, left))
    }

    /// Returns the unused recovery codes, or `None` without an active TOTP.
    pub(super) fn recovery_codes_mut(&mut self) -> Option<&mut Vec<String>> {
        let totp = self.totp.as_mut().filter(|totp| totp.pending_until.is_none())?;
        Some(&mut totp.recovery_codes)
    }

    /// Sets fields of the object.
    pub(super) fn set<const N: usize>(&mut self, fields: [(&str, Value); N]) {
        self.object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    }

    /// Counts a wrong code, locks the member if there have been too many, and returns `error`.
    fn fail(&mut self, now: SystemTime, error: ApiError) -> ApiError {
        self.failures += 1;
        if self.failures >= FAILURES_TO_LOCK {
            let end = now + LOCK_DURATION;
            self.failures = 0;
            self.locked_until = Some(end);
            self.set([
                ("is_locked", json!(true)),
                ("lock_created_at", rfc3339(now)),
                ("lock_expires_at", rfc3339(end)),
            ]);
        }
        error
    }
}

impl Totp {
    fn has_expired(&self, now: SystemTime) -> bool {
        self.pending_until.is_some_and(|end| end <= now)
    }
}

fn looks_like_a_totp_code(code: &str) -> bool {
    code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit())
}

fn looks_like_a_recovery_code(code: &str) -> bool {
    code.len() == 14 && code.split('-').map(str::len).eq([4, 4, 4])
}

/// Decodes a TOTP's secret from base32, as people write it: in either case, with spaces, and with
/// or without padding.
pub(super) fn decode_secret(secret: &str) -> Option<Secret> {
    let secret = secret.to_uppercase().replace(' ', "");
    Secret::try_from_base32(secret.trim_end_matches('=')).ok().filter(|_| !secret.is_empty())
}
