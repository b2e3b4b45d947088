//! What a run knows: who the member is, and what the calls so far have returned.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use data_encoding::{BASE32_NOPAD, BASE64URL};
use rand::RngExt as _;
use serde_json::{Value, json};
use totp_rs::Builder;

use super::{observation::Observation, totp::Totp};

/// How long a code is shown, in seconds.
const STEP: u64 = 30;
/// The least time of a code's that a series of steps needs.
const ENOUGH: u64 = 10;

/// The fields of requests and responses that hold secrets.
const SECRETS: [&str; 7] = [
    "code",
    "intermediate_session_token",
    "recovery_code",
    "recovery_codes",
    "secret",
    "session_jwt",
    "session_token",
];

/// The tokens that the user has given.
#[derive(Clone, Default)]
pub(super) struct Tokens {
    pub(super) session: Option<String>,
    pub(super) login: Option<String>,
    pub(super) other: Option<String>,
}

/// What a run knows.
pub(super) struct State {
    pub(super) organization_id: String,
    pub(super) member_id: String,
    tokens: Tokens,
    /// The session that a step has returned: token and JWT.
    session: Option<(String, String)>,
    secret: String,
    /// The secret that steps import.
    pub(super) import: String,
    pub(super) recovery_codes: Vec<String>,
    /// The recovery codes before the last that came.
    pub(super) old_recovery_codes: Vec<String>,
    /// Texts of errors, by their type.
    pub(super) texts: Vec<(String, String)>,
    /// Every secret that has been sent or received.
    secrets: Vec<String>,
    pub(super) totp: Totp,
}

impl State {
    pub(super) fn new(organization_id: String, member_id: String, tokens: Tokens) -> Self {
        Self {
            organization_id,
            member_id,
            tokens,
            session: None,
            secret: String::new(),
            import: BASE32_NOPAD.encode(&rand::rng().random::<[u8; 20]>()),
            recovery_codes: Vec::new(),
            old_recovery_codes: Vec::new(),
            texts: Vec::new(),
            secrets: Vec::new(),
            totp: Totp::None,
        }
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Returns the ids, which every request has, and more fields.
    pub(super) fn request(&self, more: Value) -> Value {
        let mut request =
            json!({"organization_id": self.organization_id, "member_id": self.member_id});
        if let (Value::Object(request), Value::Object(more)) = (&mut request, more) {
            request.extend(more);
        }
        request
    }

    /// As [`request`](Self::request), with the proof of the member's login.
    pub(super) fn proven(&self, more: Value) -> Value {
        let (field, token) = match (&self.session, &self.tokens) {
            (Some((token, _)), _) | (None, Tokens { login: None, session: Some(token), .. }) => {
                ("session_token", token.as_str())
            }
            (None, Tokens { login, .. }) => {
                ("intermediate_session_token", login.as_deref().unwrap_or_default())
            }
        };
        let mut request = self.request(more);
        request[field] = token.into();
        request
    }

    /// As [`request`](Self::request), with the session that a step has returned.
    pub(super) fn session(&self, more: Value) -> Value {
        let mut request = self.request(more);
        if let Some((token, _)) = &self.session {
            request["session_token"] = token.as_str().into();
        }
        request
    }

    /// Whether a step has returned a session, so that the token of the user was good.
    pub(super) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Returns the intermediate session token, or nothing.
    pub(super) fn login(&self) -> &str {
        self.tokens.login.as_deref().unwrap_or_default()
    }

    /// Returns another member's session token, or nothing.
    pub(super) fn other(&self) -> &str {
        self.tokens.other.as_deref().unwrap_or_default()
    }

    /// Returns the JWT of the session, or nothing.
    pub(super) fn jwt(&self) -> &str {
        self.session.as_ref().map_or("", |(_, jwt)| jwt)
    }

    /// Returns the code of the TOTP, so many steps from now.
    pub(super) fn code(&self, steps: i64) -> String {
        let now = now().saturating_add_signed(steps * STEP.cast_signed());
        let secret = BASE32_NOPAD.decode(self.secret.as_bytes()).unwrap_or_default();
        Builder::new().with_secret(secret.as_slice()).build_noncompliant().generate(now).to_string()
    }

    /// Returns six digits that are no code of now.
    pub(super) fn wrong_code(&self) -> String {
        let codes: Vec<_> = (-3..=3).map(|steps| self.code(steps)).collect();
        let wrong = (0..).map(|number| format!("{number:06}"));
        wrong.into_iter().find(|code| !codes.contains(code)).unwrap_or_default()
    }

    /// Returns an unused recovery code.
    pub(super) fn recovery_code(&self, index: usize) -> &str {
        self.recovery_codes.get(index).map_or("none-none-none", String::as_str)
    }

    /// Takes from a response what later steps need.
    pub(super) fn learn(&mut self, observation: &Observation) {
        if let Ok(answer) = &observation.http {
            self.note_secrets(&answer.body);
        }
        if let (Some(error), Ok(answer)) = (observation.error_type(), &observation.http) {
            let text = answer.body["error_message"].as_str().unwrap_or_default();
            let known = self.texts.iter().any(|(known, _)| known == error);
            if !known {
                self.texts.push((error.to_owned(), text.to_owned()));
            }
        }
        let Some(body) = observation.success() else { return };
        let text = |key: &str| body[key].as_str().filter(|it| !it.is_empty()).map(str::to_owned);
        if text("totp_registration_id").is_some() {
            self.secret = text("secret").unwrap_or_else(|| self.import.clone());
        }
        if let (Some(token), Some(jwt)) = (text("session_token"), text("session_jwt")) {
            self.session = Some((token, jwt));
        }
        if let Some(codes) = body["recovery_codes"].as_array() {
            let codes = codes.iter().filter_map(|code| code.as_str().map(str::to_owned)).collect();
            self.old_recovery_codes = std::mem::replace(&mut self.recovery_codes, codes);
        }
    }

    /// Notes the secrets of a request or a response.
    pub(super) fn note_secrets(&mut self, body: &Value) {
        let fields = SECRETS.iter().filter_map(|field| body.get(field));
        let texts = fields.flat_map(|field| match field {
            Value::Array(texts) => texts.as_slice(),
            one => std::slice::from_ref(one),
        });
        let texts = texts.filter_map(Value::as_str).filter(|text| !text.is_empty());
        self.secrets.extend(texts.map(str::to_owned));
    }

    /// Returns every secret of the run, none of which may be printed.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(String::as_str)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("totp", &self.totp).finish_non_exhaustive()
    }
}

/// Returns a token that nobody has issued, in the form of Stytch's.
pub(super) fn invented_token() -> String {
    BASE64URL.encode(&rand::rng().random::<[u8; 32]>())
}

/// Waits for the next code, unless the present one is shown long enough for a series of steps.
pub(super) async fn wait_for_a_fresh_code() {
    let left = STEP - now() % STEP;
    if left < ENOUGH {
        tokio::time::sleep(Duration::from_secs(left)).await;
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
