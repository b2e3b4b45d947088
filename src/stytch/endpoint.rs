//! The endpoints, one constant each.

use std::marker::PhantomData;

use http::Method;

use crate::proto::stytch::b2b::{
    recovery_codes::v1 as recovery_codes,
    totp::v1::{
        AuthenticateRequest, AuthenticateResponse, CreateRequest, CreateResponse, DeleteRequest,
        DeleteResponse, MigrateRequest, MigrateResponse,
    },
};

/// One operation of Stytch's API: what goes in, what comes out, and where.
#[derive(Debug)]
pub struct Endpoint<Req: 'static, Res> {
    /// The HTTP method. POST takes the request as its JSON body; GET and DELETE have none.
    pub method: Method,
    /// The path below the base URL, in which `{organization_id}` and `{member_id}` each stand for one
    /// segment.
    pub path: &'static str,
    /// Fields of the request that travel as headers.
    pub headers: &'static [Header<Req>],
    /// Whether sending it again could do harm.
    pub effect: Effect,
    /// Whether an answer holds what the caller cannot do without. Everything else may be missing or
    /// malformed without losing the answer.
    pub is_complete: fn(&Res) -> bool,
    request: PhantomData<fn(Req)>,
}

/// A header's name in lower case, and its value in the request.
pub type Header<Req> = (&'static str, fn(&Req) -> Option<&str>);

/// What a call does at Stytch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes something; a second call is a second change.
    Mutates,
    /// Changes nothing, so that it can always be sent again.
    Reads,
}

impl<Req, Res> Endpoint<Req, Res> {
    /// Whether the request is sent as a JSON body.
    pub fn has_body(&self) -> bool {
        self.method == Method::POST
    }

    /// Whether the path names the organization and the member.
    pub fn has_ids_in_path(&self) -> bool {
        self.path.contains('{')
    }
}

/// Registers a TOTP. Never sent twice: each call mints another secret.
pub const TOTP_CREATE: Endpoint<CreateRequest, CreateResponse> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/totp",
    headers: &[],
    effect: Effect::Mutates,
    is_complete: |answer| !answer.secret.is_empty(),
    request: PhantomData,
};

/// Checks a TOTP code. Never sent twice: the first call spends the code.
pub const TOTP_AUTHENTICATE: Endpoint<AuthenticateRequest, AuthenticateResponse> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/totp/authenticate",
    headers: &[],
    effect: Effect::Mutates,
    is_complete: |answer| !(answer.session_token.is_empty() && answer.session_jwt.is_empty()),
    request: PhantomData,
};

/// Takes over a TOTP of another provider.
pub const TOTP_MIGRATE: Endpoint<MigrateRequest, MigrateResponse> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/totp/migrate",
    headers: &[],
    effect: Effect::Mutates,
    is_complete: |answer| !answer.totp_registration_id.is_empty(),
    request: PhantomData,
};

/// Removes a TOTP.
pub const TOTP_DELETE: Endpoint<DeleteRequest, DeleteResponse> = Endpoint {
    method: Method::DELETE,
    path: "/v1/b2b/organizations/{organization_id}/members/{member_id}/totp",
    headers: &[
        ("x-stytch-member-session", |request| request.session_token.as_deref()),
        ("x-stytch-member-sessionjwt", |request| request.session_jwt.as_deref()),
    ],
    effect: Effect::Mutates,
    is_complete: |answer| !answer.member_id.is_empty(),
    request: PhantomData,
};

/// Reads the recovery codes that are still good. An empty list is an answer, so it is the member that an
/// answer cannot be without.
pub const RECOVERY_CODES_GET: Endpoint<recovery_codes::GetRequest, recovery_codes::GetResponse> =
    Endpoint {
        method: Method::GET,
        path: "/v1/b2b/recovery_codes/{organization_id}/{member_id}",
        headers: &[],
        effect: Effect::Reads,
        is_complete: |answer| !answer.member_id.is_empty(),
        request: PhantomData,
    };

/// Replaces the recovery codes. Never sent twice: each call mints others.
pub const RECOVERY_CODES_ROTATE: Endpoint<
    recovery_codes::RotateRequest,
    recovery_codes::RotateResponse,
> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/recovery_codes/rotate",
    headers: &[],
    effect: Effect::Mutates,
    is_complete: |answer| !answer.recovery_codes.is_empty(),
    request: PhantomData,
};

/// Lets a member in by a recovery code. Never sent twice: the first call spends the code.
pub const RECOVERY_CODES_RECOVER: Endpoint<
    recovery_codes::RecoverRequest,
    recovery_codes::RecoverResponse,
> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/recovery_codes/recover",
    headers: &[],
    effect: Effect::Mutates,
    is_complete: |answer| !(answer.session_token.is_empty() && answer.session_jwt.is_empty()),
    request: PhantomData,
};
