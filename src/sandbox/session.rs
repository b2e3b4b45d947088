//! Sessions: what the store holds of each, and how responses and JWTs present it.
//!
//! Bounded: the store holds at most [`MAX_ENTRIES`] sessions and as many used login tokens, and
//! evicts the oldest first.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    clock::{rfc3339, seconds},
    error::ApiError,
    fields::Fields,
    member::MemberIndex,
    mint,
    object::{Object, object},
};

const MAX_ENTRIES: usize = 10_000;
const JWT_LIFETIME: Duration = Duration::from_secs(5 * 60);
const DEFAULT_MINUTES: u64 = 60;
const MAX_CLAIMS_BYTES: usize = 4096;
/// The claims that a caller cannot set.
const RESERVED_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
/// The claims in which a session JWT carries its session and organization.
const SESSION_CLAIM: &str = "https://stytch.com/session";
const ORGANIZATION_CLAIM: &str = "https://stytch.com/organization";

/// A map that evicts its oldest entry when it is full.
#[derive(Debug)]
struct BoundedMap<T> {
    entries: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for BoundedMap<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> BoundedMap<T> {
    fn insert(&mut self, key: String, value: T) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_ENTRIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

/// The sessions, by their tokens, and the login tokens that have been used.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_token: BoundedMap<Session>,
    /// Session tokens by session id, which is what a JWT carries.
    tokens: BoundedMap<String>,
    used_logins: BoundedMap<()>,
}

impl Sessions {
    pub(super) fn insert(&mut self, token: String, session: Session) {
        self.tokens.insert(session.id.clone(), token.clone());
        self.by_token.insert(token, session);
    }

    pub(super) fn get(&self, token: &str) -> Option<&Session> {
        self.by_token.entries.get(token)
    }

    pub(super) fn get_mut(&mut self, token: &str) -> Option<&mut Session> {
        self.by_token.entries.get_mut(token)
    }

    /// Returns the token of the session that a JWT with these claims belongs to.
    pub(super) fn token_for(&self, claims: &Object) -> Option<&String> {
        self.tokens.entries.get(claims.get(SESSION_CLAIM)?["id"].as_str()?)
    }

    pub(super) fn use_login(&mut self, token: String) {
        self.used_logins.insert(token, ());
    }

    pub(super) fn is_used_login(&self, token: &str) -> bool {
        self.used_logins.entries.contains_key(token)
    }
}

/// How long a request asks its session to last, and the custom claims it sets.
#[derive(Debug, Default)]
pub(super) struct SessionOptions {
    pub(super) minutes: Option<u64>,
    claims: Object,
}

impl SessionOptions {
    pub(super) fn from_fields(fields: &Fields) -> Result<Self, ApiError> {
        let minutes = fields.minutes(
            "session_duration_minutes",
            5..=527_040,
            ApiError::INVALID_SESSION_DURATION,
        )?;
        let mut claims = fields.object("session_custom_claims")?.cloned().unwrap_or_default();
        claims.retain(|name, _| !RESERVED_CLAIMS.contains(&name.as_str()));
        if Value::Object(claims.clone()).to_string().len() > MAX_CLAIMS_BYTES {
            return Err(ApiError::CUSTOM_CLAIMS_TOO_LARGE);
        }
        Ok(Self { minutes, claims })
    }
}

#[derive(Debug)]
pub(super) struct Session {
    id: String,
    pub(super) owner: MemberIndex,
    started_at: SystemTime,
    last_accessed_at: SystemTime,
    expires_at: SystemTime,
    /// The factors that the member has authenticated with.
    factors: Vec<Value>,
    /// The custom claims.
    claims: Object,
}

impl Session {
    pub(super) fn new(
        owner: MemberIndex,
        factors: Vec<Value>,
        options: &SessionOptions,
        now: SystemTime,
    ) -> Self {
        let mut session = Self {
            id: mint::session_id(),
            owner,
            started_at: now,
            last_accessed_at: now,
            expires_at: now,
            factors,
            claims: Object::new(),
        };
        session.extend(options, now);
        session
    }

    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_at <= now
    }

    /// Lets the session last from `now` as long as `options` says. Stytch ignores custom claims
    /// without a duration; a null claim deletes the claim.
    pub(super) fn extend(&mut self, options: &SessionOptions, now: SystemTime) {
        let minutes = options.minutes.unwrap_or(DEFAULT_MINUTES);
        self.last_accessed_at = now;
        self.expires_at = now + Duration::from_secs(60 * minutes);
        if options.minutes.is_some() {
            for (name, value) in &options.claims {
                match value {
                    Value::Null => self.claims.remove(name),
                    value => self.claims.insert(name.clone(), value.clone()),
                };
            }
        }
    }

    /// Adds a factor, in place of an earlier one of the same type.
    pub(super) fn add_factor(&mut self, factor: Value) {
        self.factors.retain(|known| known["type"] != factor["type"]);
        self.factors.push(factor);
    }

    /// Returns the fields of a response that describe the session, except for its token.
    ///
    /// `session_jwt` holds the claims of the JWT. Signing them takes long, so `routes` does it once
    /// the store is unlocked.
    pub(super) fn fields(
        &self,
        project_id: &str,
        organization: &Object,
        member: &Object,
        now: SystemTime,
    ) -> Object {
        let (member_id, organization_id) = (&member["member_id"], &organization["organization_id"]);
        let slug = &organization["organization_slug"];
        let mut in_jwt = self.common_fields(member);
        in_jwt.insert("id".into(), json!(self.id));
        let mut claims = self.claims.clone();
        claims.extend(object(json!({
            "aud": [project_id],
            "iss": format!("stytch.com/{project_id}"),
            "sub": member_id,
            "iat": seconds(now),
            "nbf": seconds(now),
            "exp": seconds(now + JWT_LIFETIME),
            (SESSION_CLAIM): in_jwt,
            (ORGANIZATION_CLAIM): {"organization_id": organization_id, "slug": slug},
        })));
        let mut member_session = self.common_fields(member);
        member_session.extend(object(json!({
            "member_session_id": self.id,
            "member_id": member_id,
            "organization_id": organization_id,
            "organization_slug": slug,
            "custom_claims": self.claims,
        })));
        object(json!({
            "session_jwt": claims,
            "member_session": member_session,
            "organization_id": organization_id,
            "member_device": null,
        }))
    }

    /// Returns the fields that the session has both in a response and in a JWT.
    fn common_fields(&self, member: &Object) -> Object {
        let roles = member["roles"].as_array().into_iter().flatten();
        let roles: Vec<&Value> = roles.map(|role| &role["role_id"]).collect();
        object(json!({
            "started_at": rfc3339(self.started_at),
            "last_accessed_at": rfc3339(self.last_accessed_at),
            "expires_at": rfc3339(self.expires_at),
            "authentication_factors": self.factors,
            "roles": roles,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_is_evicted_first() {
        let mut map = BoundedMap::default();
        for number in 0..=MAX_ENTRIES {
            map.insert(number.to_string(), number);
            // Replacing an entry evicts nothing.
            map.insert(number.to_string(), number);
        }

        assert_eq!(map.entries.len(), MAX_ENTRIES);
        assert_eq!(map.order.len(), MAX_ENTRIES);
        assert_eq!(map.entries.get("0"), None);
        assert_eq!(map.entries.get("1"), Some(&1));
    }
}
