//! A member: Stytch's object, and what Stytch knows beside it. The object is kept true.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::{Object, error::ApiError, fault::Fault, jwt::seconds, mint, seed::text};

/// Wrong codes in a row that lock a member.
const FAILURES_TO_LOCK: u32 = 10;
const LOCK: Duration = Duration::from_secs(60 * 60);

#[derive(Debug)]
pub(super) struct Member {
    pub(super) object: Object,
    /// What every call for this member meets with.
    pub(super) fault: Option<Fault>,
    totp: Option<Totp>,
    failures: u32,
    /// The end of the lock, if it has one.
    locked_until: Option<SystemTime>,
}

#[derive(Debug)]
struct Totp {
    registration_id: String,
    generator: totp_rs::Totp,
    /// When it lapses without a first code; none once that has come.
    pending_until: Option<SystemTime>,
    /// Steps whose code has been accepted, for as long as it would be accepted again.
    spent: Vec<u64>,
    recovery_codes: Vec<String>,
    recovery_codes_id: String,
}

impl Member {
    pub(super) fn new(object: Object, fault: Option<Fault>) -> Self {
        let locked_until =
            text(&object, "lock_expires_at").and_then(|time| humantime::parse_rfc3339(time).ok());
        Self { object, fault, totp: None, failures: 0, locked_until }
    }

    /// Brings the member up to `now`: locks end and pending registrations lapse by themselves.
    pub(super) fn settle(&mut self, now: SystemTime) {
        if self.locked_until.is_some_and(|end| end <= now) {
            self.locked_until = None;
            self.set([
                ("is_locked", json!(false)),
                ("lock_created_at", Value::Null),
                ("lock_expires_at", Value::Null),
            ]);
        }
        if self.totp.as_ref().is_some_and(|totp| totp.has_lapsed(now)) {
            self.set([("totp_registration_id", json!(""))]);
        }
    }

    /// Registers a TOTP in place of a pending one.
    pub(super) fn register(
        &mut self,
        registration_id: &str,
        key: Secret,
        recovery_codes: Vec<String>,
        pending_until: Option<SystemTime>,
    ) {
        self.totp = Some(Totp {
            registration_id: registration_id.to_owned(),
            // SHA-1, six digits, 30 seconds and one step either side. Migrated keys may be shorter than
            // RFC 4226 asks for.
            generator: Builder::new().with_secret(key).build_noncompliant(),
            pending_until,
            spent: Vec::new(),
            recovery_codes,
            recovery_codes_id: mint::recovery_codes_id(),
        });
        self.set([("totp_registration_id", json!(registration_id))]);
    }

    /// Removes the TOTP and its recovery codes.
    pub(super) fn unregister(&mut self, now: SystemTime) -> Result<(), ApiError> {
        match self.totp.take() {
            Some(totp) if !totp.has_lapsed(now) => {}
            _ => return Err(ApiError::TOTP_NOT_FOUND),
        }
        self.set([("totp_registration_id", json!(""))]);
        if self.object["default_mfa_method"] == "totp" {
            let other = if self.has_phone() { "sms_otp" } else { "" };
            self.set([("default_mfa_method", json!(other))]);
        }
        Ok(())
    }

    pub(super) fn has_active_totp(&self) -> bool {
        self.totp.as_ref().is_some_and(|totp| totp.pending_until.is_none())
    }

    /// Whether the member has an active factor other than TOTP.
    pub(super) fn has_phone(&self) -> bool {
        self.object["mfa_phone_number_verified"] == true
    }

    pub(super) fn is_locked(&self) -> bool {
        self.object["is_locked"] == true
    }

    /// Spends a code. The first one makes a pending registration active. Returns the factor it proves.
    pub(super) fn spend_code(&mut self, code: &str, now: SystemTime) -> Result<Value, ApiError> {
        let totp = self.totp.as_mut().ok_or(ApiError::TOTP_NOT_FOUND)?;
        if totp.has_lapsed(now) {
            return Err(ApiError::EXPIRED_TOTP);
        }
        if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(match looks_like_a_recovery_code(code) {
                true => ApiError::RECOVERY_CODE_USED_AS_TOTP_CODE,
                false => ApiError::INVALID_TOTP_CODE,
            });
        }
        let Some(step) = totp.generator.check(code, seconds(now)) else {
            return Err(self.fail(now, ApiError::UNABLE_TO_AUTHENTICATE_TOTP));
        };
        if totp.spent.contains(&step) {
            return Err(ApiError::TOTP_CODE_ALREADY_AUTHENTICATED);
        }
        totp.spent.retain(|spent| spent.abs_diff(step) <= 2);
        totp.spent.push(step);
        totp.pending_until = None;
        let factor = json!({
            "type": "totp",
            "delivery_method": "authenticator_app",
            "authenticator_app_factor": {"totp_id": totp.registration_id},
        });
        self.failures = 0;
        Ok(factor)
    }

    /// Spends a recovery code. Returns the factor it proves, and how many codes are left.
    pub(super) fn spend_recovery_code(
        &mut self,
        code: &str,
        now: SystemTime,
    ) -> Result<(Value, usize), ApiError> {
        let codes = self.recovery_codes_mut().ok_or(ApiError::NO_RECOVERY_CODES)?;
        if code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ApiError::TOTP_CODE_USED_AS_RECOVERY_CODE);
        }
        let Some(index) = codes.iter().position(|good| good == code) else {
            return Err(self.fail(now, ApiError::UNABLE_TO_AUTHENTICATE_RECOVERY_CODE));
        };
        codes.remove(index);
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

    /// The codes that are still good; none without an active TOTP.
    pub(super) fn recovery_codes_mut(&mut self) -> Option<&mut Vec<String>> {
        let totp = self.totp.as_mut().filter(|totp| totp.pending_until.is_none())?;
        Some(&mut totp.recovery_codes)
    }

    /// Changes fields of the object.
    pub(super) fn set<const N: usize>(&mut self, fields: [(&str, Value); N]) {
        self.object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    }

    /// Counts a wrong code, and locks the member after too many.
    fn fail(&mut self, now: SystemTime, error: ApiError) -> ApiError {
        self.failures += 1;
        if self.failures >= FAILURES_TO_LOCK {
            let end = now + LOCK;
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
    fn has_lapsed(&self, now: SystemTime) -> bool {
        self.pending_until.is_some_and(|end| end <= now)
    }
}

fn looks_like_a_recovery_code(code: &str) -> bool {
    code.len() == 14 && code.split('-').map(str::len).eq([4, 4, 4])
}

/// A time as Stytch writes it.
pub(super) fn rfc3339(time: SystemTime) -> Value {
    humantime::format_rfc3339_seconds(time).to_string().into()
}
