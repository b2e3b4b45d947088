//! The script: what is called, in order. Each file is a chapter of it.
//!
//! Nothing waits for Stytch's clock: a code is good for one step either side of its own, so three
//! codes can be used within one step.

mod absent;
mod enrol;
mod migrate;
mod recover;
mod refused;
mod replace;

use http::Method;
use serde_json::Value;

use super::state::State;

pub(super) const CREATE: &str = "stytch.b2b.totp.v1.TotpService/Create";
pub(super) const AUTHENTICATE: &str = "stytch.b2b.totp.v1.TotpService/Authenticate";
pub(super) const MIGRATE: &str = "stytch.b2b.totp.v1.TotpService/Migrate";
pub(super) const DELETE: &str = "stytch.b2b.totp.v1.TotpService/Delete";
pub(super) const GET: &str = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get";
pub(super) const ROTATE: &str = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Rotate";
pub(super) const RECOVER: &str = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Recover";

/// One call of the script.
#[derive(Debug)]
pub(super) struct Step {
    /// What it does, for the report; no two steps have the same name.
    pub(super) name: &'static str,
    pub(super) role: Role,
    /// The token that it needs, if not every run has it.
    pub(super) needs: Option<Need>,
    pub(super) call: fn(&State) -> Call,
}

/// What a step is to the steps after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The steps after it make no sense without its success.
    Needed,
    /// It shows something, and later steps do not depend on it.
    Probe,
    /// It is to fail. If it does make a TOTP, that is deleted again at once.
    Refused,
}

/// A token that unlocks steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Login,
    OtherSession,
}

/// A call: through the façade or, with what the façade would not send, past it.
#[derive(Debug)]
pub(super) enum Call {
    /// An RPC and its request.
    Rpc(&'static str, Value),
    Raw(Raw),
}

/// A request past the façade.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<String>,
    pub(super) content_type: &'static str,
    pub(super) has_credentials: bool,
}

impl Step {
    const fn new(name: &'static str, role: Role, call: fn(&State) -> Call) -> Self {
        Self { name, role, needs: None, call }
    }

    const fn needed(name: &'static str, call: fn(&State) -> Call) -> Self {
        Self::new(name, Role::Needed, call)
    }

    const fn probe(name: &'static str, call: fn(&State) -> Call) -> Self {
        Self::new(name, Role::Probe, call)
    }

    const fn refused(name: &'static str, call: fn(&State) -> Call) -> Self {
        Self::new(name, Role::Refused, call)
    }

    const fn with(mut self, need: Need) -> Self {
        self.needs = Some(need);
        self
    }
}

impl Need {
    pub(super) fn is_met(self, state: &State) -> bool {
        let token = match self {
            Self::Login => state.login(),
            Self::OtherSession => state.other(),
        };
        !token.is_empty()
    }

    /// Returns the variable that holds the token.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Login => "TOTP_FACADE_VERIFY_LOGIN_TOKEN",
            Self::OtherSession => "TOTP_FACADE_VERIFY_OTHER_SESSION_TOKEN",
        }
    }
}

impl Call {
    /// A POST past the façade.
    fn post(path: &str, body: &Value) -> Self {
        Self::Raw(Raw::post(path, body.to_string()))
    }

    pub(super) fn method(&self) -> Option<&'static str> {
        match self {
            Self::Rpc(method, _) => Some(method),
            Self::Raw(_) => None,
        }
    }

    /// Returns the fields of the request.
    pub(super) fn fields(&self) -> Value {
        match self {
            Self::Rpc(_, request) => request.clone(),
            Self::Raw(raw) => {
                let body = raw.body.as_deref().unwrap_or_default();
                serde_json::from_str(body).unwrap_or_default()
            }
        }
    }

    /// Whether a success registers a TOTP.
    pub(super) fn makes(&self) -> bool {
        match self {
            Self::Rpc(method, _) => matches!(*method, CREATE | MIGRATE),
            Self::Raw(raw) => {
                raw.method == Method::POST
                    && matches!(raw.path.as_str(), "/v1/b2b/totp" | "/v1/b2b/totp/migrate")
            }
        }
    }
}

impl Raw {
    fn post(path: &str, body: String) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            body: Some(body),
            content_type: "application/json",
            has_credentials: true,
        }
    }
}

/// Returns the whole script.
pub(super) fn all() -> impl Iterator<Item = &'static Step> {
    let chapters: [&[Step]; 6] = [
        absent::STEPS,
        refused::STEPS,
        enrol::STEPS,
        recover::STEPS,
        replace::STEPS,
        migrate::STEPS,
    ];
    chapters.into_iter().flatten()
}

/// Deletes the TOTP with the permissions of the project.
pub(super) static CLEAN_UP: Step =
    Step::probe("clean up", |state| Call::Rpc(DELETE, state.request(Value::Null)));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_steps_have_the_same_name() {
        let names: BTreeSet<_> = all().map(|step| step.name).collect();

        assert_eq!(names.len(), all().count());
    }
}
