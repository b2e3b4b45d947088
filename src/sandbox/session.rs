//! Logins in progress, sessions, and who may prove what with them.
//!
//! Bounded: at most [`MAX_REMEMBERED`] sessions and as many spent tokens, the oldest forgotten first.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    Object,
    error::ApiError,
    fields::Fields,
    jwt::{self, Unverified, seconds},
    member::rfc3339,
    mint,
    store::{Place, Store},
};

/// `sandbox-login.MEMBER`, with any further `.TEXT`: an intermediate session token of that member.
const LOGIN: &str = "sandbox-login.";
/// `sandbox-session.MEMBER`, with any further `.TEXT`: a session token of that member.
const SESSION: &str = "sandbox-session.";

const MAX_REMEMBERED: usize = 10_000;
const JWT_LIFETIME: Duration = Duration::from_secs(5 * 60);
const DEFAULT_MINUTES: u64 = 60;
const MAX_CLAIMS: usize = 4096;
const RESERVED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
/// The claims in which a session JWT bears the session and the organization.
const SESSION_CLAIM: &str = "https://stytch.com/session";
const ORGANIZATION_CLAIM: &str = "https://stytch.com/organization";

/// A map that forgets what was put in first.
#[derive(Debug)]
struct Remembered<T> {
    entries: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Remembered<T> {
    fn insert(&mut self, key: String, value: T) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_token: Remembered<Session>,
    /// Tokens by their sessions' ids, for JWTs.
    tokens: Remembered<String>,
    spent: Remembered<()>,
}

#[derive(Clone, Debug)]
struct Session {
    id: String,
    owner: Place,
    started_at: SystemTime,
    last_accessed_at: SystemTime,
    expires_at: SystemTime,
    factors: Vec<Value>,
    claims: Object,
}

/// Whose login or session a request comes with.
#[derive(Debug)]
pub(super) enum Proof {
    /// An intermediate session token, good until it is spent.
    Login(String),
    /// The token of a session, which exists.
    Session(String),
}

/// How long a session shall last and what it shall claim.
#[derive(Debug)]
pub(super) struct Wish {
    minutes: Option<u64>,
    claims: Object,
}

impl Wish {
    /// What the request wishes, checked before anything is spent.
    pub(super) fn of(fields: &Fields) -> Result<Self, ApiError> {
        let minutes = fields.minutes(
            "session_duration_minutes",
            5..=527_040,
            ApiError::INVALID_SESSION_DURATION,
        )?;
        let mut claims = fields.object("session_custom_claims")?.cloned().unwrap_or_default();
        claims.retain(|name, _| !RESERVED.contains(&name.as_str()));
        if Value::Object(claims.clone()).to_string().len() > MAX_CLAIMS {
            return Err(ApiError::CUSTOM_CLAIMS_TOO_LARGE);
        }
        Ok(Self { minutes, claims })
    }
}

impl Store {
    /// The proof that a request comes with, if any. It is the member's own.
    pub(super) fn proof(&mut self, fields: &Fields, of: Place) -> Result<Option<Proof>, ApiError> {
        let proofs = (
            fields.text("intermediate_session_token")?,
            fields.text("session_token")?,
            fields.text("session_jwt")?,
        );
        let (owner, proof) = match proofs {
            (None, None, None) => return Ok(None),
            (Some(token), None, None) => {
                let owner = self.login(token, of)?;
                (owner, Proof::Login(token.to_owned()))
            }
            (None, token, jwt) if token.is_none() || jwt.is_none() => {
                let token = self.session(token, jwt, of.organization)?;
                (self.sessions.by_token.entries[&token].owner, Proof::Session(token))
            }
            _ => return Err(ApiError::TOO_MANY_PROOFS),
        };
        if owner.member == of.member { Ok(Some(proof)) } else { Err(ApiError::PROOF_OF_ANOTHER) }
    }

    /// Completes a login, or adds to a session: `factor` has been proved. Returns what of the answer is
    /// about the session.
    pub(super) fn complete(
        &mut self,
        proof: Proof,
        of: Place,
        mut factor: Value,
        wish: &Wish,
    ) -> Object {
        let now = self.now();
        stamp(&mut factor, now, "SECONDARY");
        match proof {
            Proof::Login(token) => {
                self.sessions.spent.insert(token, ());
                let mut factors = self.login_factors(of);
                factors.push(factor);
                self.begin(mint::session_token(), of, factors, wish)
            }
            Proof::Session(token) => {
                let session = self.extend(&token, wish);
                session.factors.retain(|known| known["type"] != factor["type"]);
                session.factors.push(factor);
                self.answer(&token)
            }
        }
    }

    /// `POST /v1/b2b/sessions/authenticate`.
    pub(super) fn authenticate_session(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let wish = Wish::of(fields)?;
        let (token, jwt) = (fields.text("session_token")?, fields.text("session_jwt")?);
        match (token, jwt) {
            (None, None) => return Err(ApiError::NO_PROOF),
            (Some(_), Some(_)) => return Err(ApiError::TOO_MANY_PROOFS),
            _ => {}
        }
        let token = self.session(token, jwt, 0)?;
        let of = self.sessions.by_token.entries[&token].owner;
        if wish.minutes.is_some() {
            self.extend(&token, &wish);
        }
        let mut answer = self.answer(&token);
        answer.insert("verdict".into(), Value::Null);
        Ok(self.answer_about(of, answer))
    }

    /// Whose session the request's headers name, for calls made with a member's permissions.
    pub(super) fn actor(&mut self, fields: &Fields, at: Place) -> Result<Option<Place>, ApiError> {
        match (fields.text("session_token")?, fields.text("session_jwt")?) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(ApiError::TOO_MANY_PROOFS),
            (token, jwt) => {
                let token = self.session(token, jwt, at.organization)?;
                Ok(Some(self.sessions.by_token.entries[&token].owner))
            }
        }
    }

    /// Whose login is in progress by this token.
    fn login(&self, token: &str, of: Place) -> Result<Place, ApiError> {
        if self.sessions.spent.entries.contains_key(token) {
            return Err(ApiError::INTERMEDIATE_SESSION_NOT_FOUND);
        }
        token
            .strip_prefix(LOGIN)
            .and_then(|name| self.named(name, of.organization))
            .ok_or(ApiError::INTERMEDIATE_SESSION_NOT_FOUND)
    }

    /// The token of the session that is meant, which exists.
    fn session(
        &mut self,
        token: Option<&str>,
        jwt: Option<&str>,
        organization: usize,
    ) -> Result<String, ApiError> {
        let now = self.now();
        let token = match (token, jwt) {
            (Some(token), _) => token.to_owned(),
            (None, Some(jwt)) => {
                let claims = jwt::verify(jwt, now).map_err(|why| match why {
                    Unverified::Malformed => ApiError::UNABLE_TO_PARSE_JWT,
                    Unverified::Invalid => ApiError::SESSION_NOT_FOUND,
                })?;
                let id = claims[SESSION_CLAIM]["id"].as_str().unwrap_or_default();
                self.sessions.tokens.entries.get(id).cloned().ok_or(ApiError::SESSION_NOT_FOUND)?
            }
            (None, None) => return Err(ApiError::NO_PROOF),
        };
        match self.sessions.by_token.entries.get(&token) {
            Some(session) if session.expires_at > now => return Ok(token),
            Some(_) => return Err(ApiError::SESSION_NOT_FOUND),
            None => {}
        }
        let owner = token
            .strip_prefix(SESSION)
            .and_then(|name| self.named(name, organization))
            .ok_or(ApiError::SESSION_NOT_FOUND)?;
        let factors = self.login_factors(owner);
        let wish = Wish { minutes: None, claims: Object::new() };
        self.begin(token.clone(), owner, factors, &wish);
        Ok(token)
    }

    /// The member whose name `name` is, or begins with before a dot: in this organization if there, else in
    /// any.
    fn named(&self, name: &str, organization: usize) -> Option<Place> {
        let mut name = name;
        loop {
            if let Some(place) = self.member_anywhere(name, organization) {
                return Some(place);
            }
            name = name.rsplit_once('.')?.0;
        }
    }

    /// What a login has proved: the email address, and the phone where there is one.
    fn login_factors(&self, of: Place) -> Vec<Value> {
        let member = &self.members[of.member];
        let mut factors = vec![json!({
            "type": "magic_link",
            "delivery_method": "email",
            "email_factor": {
                "email_id": "email-test-00000000-0000-4000-8000-000000000000",
                "email_address": member.object["email_address"],
            },
        })];
        if member.has_phone() {
            factors.push(json!({
                "type": "otp",
                "delivery_method": "sms",
                "phone_number_factor": {
                    "phone_id": "phone-number-test-00000000-0000-4000-8000-000000000000",
                    "phone_number": member.object["mfa_phone_number"],
                },
            }));
        }
        let now = self.now();
        for (factor, order) in factors.iter_mut().zip(["PRIMARY", "SECONDARY"]) {
            stamp(factor, now, order);
        }
        factors
    }

    fn begin(&mut self, token: String, owner: Place, factors: Vec<Value>, wish: &Wish) -> Object {
        let now = self.now();
        let id = mint::session_id();
        let session = Session {
            id: id.clone(),
            owner,
            started_at: now,
            last_accessed_at: now,
            expires_at: now,
            factors,
            claims: Object::new(),
        };
        self.sessions.tokens.insert(id, token.clone());
        self.sessions.by_token.insert(token.clone(), session);
        self.extend(&token, wish);
        self.answer(&token)
    }

    fn extend(&mut self, token: &str, wish: &Wish) -> &mut Session {
        let now = self.now();
        let session = self.sessions.by_token.entries.get_mut(token).expect("it exists");
        let minutes = wish.minutes.unwrap_or(DEFAULT_MINUTES);
        session.last_accessed_at = now;
        session.expires_at = now + Duration::from_secs(60 * minutes);
        if wish.minutes.is_some() {
            for (name, value) in &wish.claims {
                match value {
                    Value::Null => session.claims.remove(name),
                    value => session.claims.insert(name.clone(), value.clone()),
                };
            }
        }
        session
    }

    /// The session as an answer has it. The JWT is its claims, to be signed once the store is free.
    fn answer(&self, token: &str) -> Object {
        let session = &self.sessions.by_token.entries[token];
        let member = &self.members[session.owner.member].object;
        let organization = &self.organizations[session.owner.organization];
        let slug = &organization["organization_slug"];
        let roles: Vec<_> = member["roles"]
            .as_array()
            .map(|roles| roles.iter().map(|role| role["role_id"].clone()).collect())
            .unwrap_or_default();
        let times = [
            ("started_at", rfc3339(session.started_at)),
            ("last_accessed_at", rfc3339(session.last_accessed_at)),
            ("expires_at", rfc3339(session.expires_at)),
        ];
        let mut member_session = Object::from_iter(times.map(|(key, time)| (key.into(), time)));
        member_session.insert("authentication_factors".into(), json!(session.factors));
        member_session.insert("roles".into(), json!(roles));

        let mut in_jwt = member_session.clone();
        in_jwt.insert("id".into(), json!(session.id));
        let (now, project) = (self.now(), &self.project.project_id);
        let mut claims = session.claims.clone();
        claims.extend(object(json!({
            "aud": [project],
            "iss": format!("stytch.com/{project}"),
            "sub": member["member_id"],
            "iat": seconds(now),
            "nbf": seconds(now),
            "exp": seconds(now + JWT_LIFETIME),
            (SESSION_CLAIM): in_jwt,
            (ORGANIZATION_CLAIM): {"organization_id": organization["organization_id"], "slug": slug},
        })));
        member_session.extend(object(json!({
            "member_session_id": session.id,
            "member_id": member["member_id"],
            "organization_id": organization["organization_id"],
            "organization_slug": slug,
            "custom_claims": session.claims,
        })));
        object(json!({
            "session_token": token,
            "session_jwt": claims,
            "member_session": member_session,
            "organization_id": organization["organization_id"],
            "member_device": null,
        }))
    }
}

fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => unreachable!("written as an object"),
    }
}

/// When a factor was proved, and as which of them.
fn stamp(factor: &mut Value, now: SystemTime, order: &str) {
    let time = rfc3339(now);
    for key in ["last_authenticated_at", "created_at", "updated_at"] {
        factor[key] = time.clone();
    }
    factor["sequence_order"] = order.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_first_is_forgotten_first() {
        let mut remembered = Remembered::default();
        for number in 0..=MAX_REMEMBERED {
            remembered.insert(number.to_string(), number);
            // Putting something in again takes no room.
            remembered.insert(number.to_string(), number);
        }

        assert_eq!(remembered.entries.len(), MAX_REMEMBERED);
        assert_eq!(remembered.order.len(), MAX_REMEMBERED);
        assert_eq!(remembered.entries.get("0"), None);
        assert_eq!(remembered.entries.get("1"), Some(&1));
    }
}
