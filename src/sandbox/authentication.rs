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

/// `POST /v1/b2b/sessions/authenticate`.
pub(super) fn authenticate_session(store: &mut Store, fields: &Fields) -> Result<Value, ApiError> {
    let options = SessionOptions::from_fields(fields)?;
    let argument = SessionArgument::from_fields(fields)?.ok_or(ApiError::NO_SESSION_ARGUMENTS)?;
    let token = resolve_session(store, argument, 0)?;
    if options.minutes.is_some() {
        let now = store.now();
        session_mut(store, &token).extend(&options, now);
    }
    let owner = session(store, &token).owner;
    let mut body = session_fields(store, &token);
    body.insert("verdict".into(), Value::Null);
    Ok(store.response(owner, body.into()))
}

/// Returns the token that a request carries, if any, after checking that it belongs to the member
/// at `index`.
pub(super) fn member_token(
    store: &mut Store,
    fields: &Fields,
    index: MemberIndex,
) -> Result<Option<MemberToken>, ApiError> {
    let login = fields.text("intermediate_session_token")?;
    let (owner, token) = match (login, SessionArgument::from_fields(fields)?) {
        (None, None) => return Ok(None),
        (Some(login), None) => {
            let owner = login_owner(store, login, index.organization)?;
            (owner, MemberToken::Login(login.to_owned()))
        }
        (None, Some(argument)) => {
            let token = resolve_session(store, argument, index.organization)?;
            (session(store, &token).owner, MemberToken::Session(token))
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
    store: &mut Store,
    fields: &Fields,
    preferred: usize,
) -> Result<Option<MemberIndex>, ApiError> {
    let Some(argument) = SessionArgument::from_fields(fields)? else { return Ok(None) };
    let token = resolve_session(store, argument, preferred)?;
    Ok(Some(session(store, &token).owner))
}

/// Completes a login, or extends a session, with a factor that the member has authenticated with.
/// Returns the fields of the response that describe the session.
pub(super) fn complete(
    store: &mut Store,
    token: MemberToken,
    index: MemberIndex,
    mut factor: Value,
    options: &SessionOptions,
) -> Object {
    let now = store.now();
    stamp(&mut factor, rfc3339(now), "SECONDARY");
    let token = match token {
        MemberToken::Login(login) => {
            store.sessions.use_login(login);
            let mut factors = login_factors(store, index);
            factors.push(factor);
            let token = mint::session_token();
            store.sessions.insert(token.clone(), Session::new(index, factors, options, now));
            token
        }
        MemberToken::Session(token) => {
            let session = session_mut(store, &token);
            session.extend(options, now);
            session.add_factor(factor);
            token
        }
    };
    session_fields(store, &token)
}

/// Returns the member whose login is in progress under this token.
fn login_owner(store: &Store, token: &str, preferred: usize) -> Result<MemberIndex, ApiError> {
    Some(token)
        .filter(|token| !store.sessions.is_used_login(token))
        .and_then(|token| owner_by_name(store, token.strip_prefix(LOGIN_PREFIX)?, preferred))
        .ok_or(ApiError::INTERMEDIATE_SESSION_NOT_FOUND)
}

/// Returns the token of the session, which is in the store and valid. A session whose token names
/// a member starts here, on first use.
fn resolve_session(
    store: &mut Store,
    argument: SessionArgument<'_>,
    preferred: usize,
) -> Result<String, ApiError> {
    let now = store.now();
    let token = match argument {
        SessionArgument::Token(token) => token.to_owned(),
        SessionArgument::Jwt(jwt) => {
            let claims = jwt::verify(jwt, now).map_err(|error| match error {
                JwtError::Malformed => ApiError::UNABLE_TO_PARSE_JWT,
                JwtError::Invalid => ApiError::SESSION_NOT_FOUND,
            })?;
            store.sessions.token_for(&claims).cloned().ok_or(ApiError::SESSION_NOT_FOUND)?
        }
    };
    match store.sessions.get(&token) {
        Some(session) if session.has_expired(now) => return Err(ApiError::SESSION_NOT_FOUND),
        Some(_) => return Ok(token),
        None => {}
    }
    let owner = token
        .strip_prefix(SESSION_PREFIX)
        .and_then(|name| owner_by_name(store, name, preferred))
        .ok_or(ApiError::SESSION_NOT_FOUND)?;
    let factors = login_factors(store, owner);
    let session = Session::new(owner, factors, &SessionOptions::default(), now);
    store.sessions.insert(token.clone(), session);
    Ok(token)
}

/// Returns the member whose name is `name` or the part of it before one of its dots. The longest
/// name wins.
fn owner_by_name(store: &Store, mut name: &str, preferred: usize) -> Option<MemberIndex> {
    loop {
        if let Some(index) = store.find_anywhere(name, preferred) {
            return Some(index);
        }
        name = name.rsplit_once('.')?.0;
    }
}

/// Returns the factors of a login: the email address, and the phone number if it is verified.
fn login_factors(store: &Store, index: MemberIndex) -> Vec<Value> {
    let member = &store.members[index.member];
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
    let now = rfc3339(store.now());
    for (factor, order) in factors.iter_mut().zip(["PRIMARY", "SECONDARY"]) {
        stamp(factor, now.clone(), order);
    }
    factors
}

fn session<'a>(store: &'a Store, token: &str) -> &'a Session {
    store.sessions.get(token).expect("the token has been resolved")
}

fn session_mut<'a>(store: &'a mut Store, token: &str) -> &'a mut Session {
    store.sessions.get_mut(token).expect("the token has been resolved")
}

fn session_fields(store: &Store, token: &str) -> Object {
    let session = session(store, token);
    let organization = &store.organizations[session.owner.organization];
    let member = &store.members[session.owner.member].object;
    let mut fields = session.fields(&store.project.project_id, organization, member, store.now());
    fields.insert("session_token".into(), token.into());
    fields
}

/// Sets when a factor was authenticated with, and its place among the factors.
fn stamp(factor: &mut Value, time: Value, sequence_order: &str) {
    for key in ["last_authenticated_at", "created_at", "updated_at"] {
        factor[key] = time.clone();
    }
    factor["sequence_order"] = sequence_order.into();
}
