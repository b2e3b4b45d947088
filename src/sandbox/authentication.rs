//! How members authenticate: logins in progress, sessions, and the factors that they add up to.

use serde_json::{Value, json};

use super::{
    clock::rfc3339,
    error::ApiError,
    fields::Fields,
    jwt::{self, JwtError},
    member::MemberIndex,
    mint,
    object::Object,
    session::{Session, SessionOptions},
    store::Store,
};

/// `sandbox-login.MEMBER[.TEXT]` is an intermediate session token of that member.
const LOGIN_PREFIX: &str = "sandbox-login.";
/// `sandbox-session.MEMBER[.TEXT]` is a session token of that member.
const SESSION_PREFIX: &str = "sandbox-session.";

/// The valid token of a member, with which a request authenticates.
#[derive(Debug)]
pub(super) enum MemberToken {
    /// An intermediate session token: a login in progress. It can be used once.
    Login(String),
    /// The token of a session in the store, also when the request carried the session's JWT.
    Session(String),
}

/// A session, as a request names it.
enum SessionArgument<'a> {
    Token(&'a str),
    Jwt(&'a str),
}

impl<'a> SessionArgument<'a> {
    fn from_fields(fields: &'a Fields) -> Result<Option<Self>, ApiError> {
        match (fields.text("session_token")?, fields.text("session_jwt")?) {
            (None, None) => Ok(None),
            (Some(token), None) => Ok(Some(Self::Token(token))),
            (None, Some(jwt)) => Ok(Some(Self::Jwt(jwt))),
            (Some(_), Some(_)) => Err(ApiError::TOO_MANY_SESSION_ARGUMENTS),
        }
    }
}

impl Store {
    /// `POST /v1/b2b/sessions/authenticate`.
    pub(super) fn authenticate_session(&mut self, fields: &Fields) -> Result<Value, ApiError> {
        let options = SessionOptions::from_fields(fields)?;
        let argument =
            SessionArgument::from_fields(fields)?.ok_or(ApiError::NO_SESSION_ARGUMENTS)?;
        let token = self.resolve_session(argument, 0)?;
        if options.minutes.is_some() {
            let now = self.now();
            self.session_mut(&token).extend(&options, now);
        }
        let owner = self.session(&token).owner;
        let mut body = self.session_fields(&token);
        body.insert("verdict".into(), Value::Null);
        Ok(self.response(owner, body.into()))
    }

    /// Returns the token that a request carries, if any, after checking that it belongs to the
    /// member at `index`.
    pub(super) fn member_token(
        &mut self,
        fields: &Fields,
        index: MemberIndex,
    ) -> Result<Option<MemberToken>, ApiError> {
        let login = fields.text("intermediate_session_token")?;
        let (owner, token) = match (login, SessionArgument::from_fields(fields)?) {
            (None, None) => return Ok(None),
            (Some(login), None) => {
                let owner = self.login_owner(login, index.organization)?;
                (owner, MemberToken::Login(login.to_owned()))
            }
            (None, Some(argument)) => {
                let token = self.resolve_session(argument, index.organization)?;
                (self.session(&token).owner, MemberToken::Session(token))
            }
            (Some(_), Some(_)) => return Err(ApiError::TOO_MANY_SESSION_ARGUMENTS),
        };
        match owner.member == index.member {
            true => Ok(Some(token)),
            false => Err(ApiError::SESSION_OF_ANOTHER_MEMBER),
        }
    }

    /// Returns the member with whose session a request acts, if it names one.
    pub(super) fn actor(
        &mut self,
        fields: &Fields,
        preferred: usize,
    ) -> Result<Option<MemberIndex>, ApiError> {
        let Some(argument) = SessionArgument::from_fields(fields)? else { return Ok(None) };
        let token = self.resolve_session(argument, preferred)?;
        Ok(Some(self.session(&token).owner))
    }

    /// Completes a login, or extends a session, with a factor that the member has authenticated
    /// with. Returns the fields of the response that describe the session.
    pub(super) fn complete(
        &mut self,
        token: MemberToken,
        index: MemberIndex,
        mut factor: Value,
        options: &SessionOptions,
    ) -> Object {
        let now = self.now();
        stamp(&mut factor, rfc3339(now), "SECONDARY");
        let token = match token {
            MemberToken::Login(login) => {
                self.sessions.use_login(login);
                let mut factors = self.login_factors(index);
                factors.push(factor);
                let token = mint::session_token();
                self.sessions.insert(token.clone(), Session::new(index, factors, options, now));
                token
            }
            MemberToken::Session(token) => {
                let session = self.session_mut(&token);
                session.extend(options, now);
                session.add_factor(factor);
                token
            }
        };
        self.session_fields(&token)
    }

    /// Returns the member whose login is in progress under this token.
    fn login_owner(&self, token: &str, preferred: usize) -> Result<MemberIndex, ApiError> {
        Some(token)
            .filter(|token| !self.sessions.is_used_login(token))
            .and_then(|token| self.owner_by_name(token.strip_prefix(LOGIN_PREFIX)?, preferred))
            .ok_or(ApiError::INTERMEDIATE_SESSION_NOT_FOUND)
    }

    /// Returns the token of a session that is in the store and valid. A session that has a
    /// member's name in its token starts here, on first use.
    fn resolve_session(
        &mut self,
        argument: SessionArgument<'_>,
        preferred: usize,
    ) -> Result<String, ApiError> {
        let now = self.now();
        let token = match argument {
            SessionArgument::Token(token) => token.to_owned(),
            SessionArgument::Jwt(jwt) => {
                let claims = jwt::verify(jwt, now).map_err(|error| match error {
                    JwtError::Malformed => ApiError::UNABLE_TO_PARSE_JWT,
                    JwtError::Invalid => ApiError::SESSION_NOT_FOUND,
                })?;
                self.sessions.token_for(&claims).cloned().ok_or(ApiError::SESSION_NOT_FOUND)?
            }
        };
        match self.sessions.get(&token) {
            Some(session) if session.has_expired(now) => return Err(ApiError::SESSION_NOT_FOUND),
            Some(_) => return Ok(token),
            None => {}
        }
        let owner = token
            .strip_prefix(SESSION_PREFIX)
            .and_then(|name| self.owner_by_name(name, preferred))
            .ok_or(ApiError::SESSION_NOT_FOUND)?;
        let factors = self.login_factors(owner);
        let session = Session::new(owner, factors, &SessionOptions::default(), now);
        self.sessions.insert(token.clone(), session);
        Ok(token)
    }

    /// Returns the member whose name is `name`, or the part of it before one of its dots. The
    /// longest name wins.
    fn owner_by_name(&self, mut name: &str, preferred: usize) -> Option<MemberIndex> {
        loop {
            if let Some(index) = self.find_anywhere(name, preferred) {
                return Some(index);
            }
            name = name.rsplit_once('.')?.0;
        }
    }

    /// Returns the factors of a login: the email address, and the phone number if it is verified.
    fn login_factors(&self, index: MemberIndex) -> Vec<Value> {
        let member = &self.members[index.member];
        let mut factors = vec![json!({
            "type": "magic_link",
            "delivery_method": "email",
            "email_factor": {
                "email_id": "email-test-00000000-0000-4000-8000-000000000000",
                "email_address": member.object["email_address"],
            },
        })];
        if member.has_verified_phone() {
            factors.push(json!({
                "type": "otp",
                "delivery_method": "sms",
                "phone_number_factor": {
                    "phone_id": "phone-number-test-00000000-0000-4000-8000-000000000000",
                    "phone_number": member.object["mfa_phone_number"],
                },
            }));
        }
        let now = rfc3339(self.now());
        for (factor, order) in factors.iter_mut().zip(["PRIMARY", "SECONDARY"]) {
            stamp(factor, now.clone(), order);
        }
        factors
    }

    fn session(&self, token: &str) -> &Session {
        self.sessions.get(token).expect("the token has been resolved")
    }

    fn session_mut(&mut self, token: &str) -> &mut Session {
        self.sessions.get_mut(token).expect("the token has been resolved")
    }

    fn session_fields(&self, token: &str) -> Object {
        let session = self.session(token);
        let organization = &self.organizations[session.owner.organization];
        let member = &self.members[session.owner.member].object;
        let mut fields = session.fields(&self.project.project_id, organization, member, self.now());
        fields.insert("session_token".into(), token.into());
        fields
    }
}

/// Sets when a factor was authenticated with, and its place among the factors.
fn stamp(factor: &mut Value, time: Value, sequence_order: &str) {
    for key in ["last_authenticated_at", "created_at", "updated_at"] {
        factor[key] = time.clone();
    }
    factor["sequence_order"] = sequence_order.into();
}
