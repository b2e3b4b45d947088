//! The endpoints, one constant each.

use std::marker::PhantomData;

use http::Method;

use crate::proto::stytch::b2b::totp::v1::{CreateRequest, CreateResponse};

/// One operation of Stytch's API: what goes in, what comes out, and where.
#[derive(Debug)]
pub struct Endpoint<Req, Res> {
    /// The HTTP method.
    pub method: Method,
    /// The path below the base URL.
    pub path: &'static str,
    /// Whether sending it again could do harm.
    pub effect: Effect,
    /// Whether an answer holds what the caller cannot do without. Everything else may be missing or
    /// malformed without losing the answer.
    pub is_complete: fn(&Res) -> bool,
    request: PhantomData<fn(Req)>,
}

/// What a call does at Stytch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes something; a second call is a second change.
    Mutates,
    /// Changes nothing, so that it can always be sent again.
    Reads,
}

/// Registers a TOTP. Never sent twice: each call mints another secret.
pub const TOTP_CREATE: Endpoint<CreateRequest, CreateResponse> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/totp",
    effect: Effect::Mutates,
    is_complete: |answer| !answer.secret.is_empty(),
    request: PhantomData,
};
