//! The endpoints of Stytch's API, one constant each.

use std::{borrow::Cow, marker::PhantomData};

use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::proto::{
    StytchRequest,
    stytch::b2b::{
        recovery_codes::v1 as recovery_codes,
        totp::v1::{
            AuthenticateRequest, AuthenticateResponse, CreateRequest, CreateResponse,
            DeleteRequest, DeleteResponse, MigrateRequest, MigrateResponse,
        },
    },
};

/// The characters to percent-encode in a path segment: all but RFC 3986's unreserved ones.
pub(super) const PATH_SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What stands for an id in a URL, as OpenTelemetry's conventions say.
const REDACTED: &str = "REDACTED";

/// One operation of Stytch's API: a request of type `Req` in, a response of type `Res` out.
#[derive(Debug)]
pub struct Endpoint<Req: 'static, Res> {
    /// The HTTP method. POST takes the request as its JSON body; GET and DELETE have none.
    pub method: Method,
    /// The path below the base URL. `{organization_id}` and `{member_id}` are placeholders for one
    /// segment each.
    pub path: &'static str,
    /// The fields of the request that are sent as headers.
    pub headers: &'static [Header<Req>],
    /// Whether a call changes something at Stytch, which decides whether it can be retried.
    pub effect: Effect,
    /// The essential fields of a response: one of them must be set. Any other field may be missing
    /// or malformed without failing the call.
    pub essential: &'static [&'static str],
    types: PhantomData<fn(Req) -> Res>,
}

/// A header: its name in lower case, and a function that reads its value from the request.
pub type Header<Req> = (&'static str, fn(&Req) -> Option<&str>);

/// What a call does at Stytch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes something, and a second call changes it again.
    Mutates,
    /// It changes nothing, so it can always be retried.
    Reads,
}

impl<Req, Res> Endpoint<Req, Res> {
    /// Returns whether the request is sent as a JSON body.
    pub fn has_body(&self) -> bool {
        self.method == Method::POST
    }

    /// Returns whether the path has placeholders for the organization and the member.
    pub fn has_ids_in_path(&self) -> bool {
        self.path.contains('{')
    }

    /// Returns the path with the ids of `request` filled in, each percent-encoded as exactly one
    /// segment.
    ///
    /// # Panics
    ///
    /// If an id is empty, `.` or `..`.
    pub(super) fn path_for(&self, request: &Req) -> Cow<'static, str>
    where
        Req: StytchRequest,
    {
        if !self.has_ids_in_path() {
            return self.path.into();
        }
        let segment = |id: &str| {
            assert!(!matches!(id, "" | "." | ".."), "not a path segment");
            utf8_percent_encode(id, PATH_SEGMENT).to_string()
        };
        // An encoded id contains no braces.
        self.path
            .replace("{organization_id}", &segment(request.organization_id()))
            .replace("{member_id}", &segment(request.member_id()))
            .into()
    }

    /// Returns the path without ids, for what must not show them.
    pub(super) fn path_without_ids(&self) -> String {
        self.path.replace("{organization_id}", REDACTED).replace("{member_id}", REDACTED)
    }

    /// Returns the headers of `request`, marked as sensitive: they hold session tokens.
    ///
    /// # Panics
    ///
    /// If a value is not visible ASCII.
    pub(super) fn headers_for(&self, request: &Req) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            let Some(value) = value(request) else { continue };
            let mut value = HeaderValue::from_str(value).expect("Validate requires visible ASCII");
            value.set_sensitive(true);
            headers.insert(*name, value);
        }
        headers
    }
}

/// Registers a TOTP. Never sent twice: each call issues a new secret.
pub const TOTP_CREATE: Endpoint<CreateRequest, CreateResponse> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/totp",
    headers: &[],
    effect: Effect::Mutates,
    essential: &["secret"],
    types: PhantomData,
};

/// Checks a TOTP code. Never sent twice: the first call uses up the code.
pub const TOTP_AUTHENTICATE: Endpoint<AuthenticateRequest, AuthenticateResponse> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/totp/authenticate",
    headers: &[],
    effect: Effect::Mutates,
    essential: &["session_token", "session_jwt"],
    types: PhantomData,
};

/// Imports a TOTP from another provider.
pub const TOTP_MIGRATE: Endpoint<MigrateRequest, MigrateResponse> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/totp/migrate",
    headers: &[],
    effect: Effect::Mutates,
    essential: &["totp_registration_id"],
    types: PhantomData,
};

/// Deletes a TOTP.
pub const TOTP_DELETE: Endpoint<DeleteRequest, DeleteResponse> = Endpoint {
    method: Method::DELETE,
    path: "/v1/b2b/organizations/{organization_id}/members/{member_id}/totp",
    headers: &[
        ("x-stytch-member-session", |request| request.session_token.as_deref()),
        ("x-stytch-member-sessionjwt", |request| request.session_jwt.as_deref()),
    ],
    effect: Effect::Mutates,
    essential: &["member_id"],
    types: PhantomData,
};

/// Reads the unused recovery codes. An empty list is a valid response, so the essential field is
/// the member id.
pub const RECOVERY_CODES_GET: Endpoint<recovery_codes::GetRequest, recovery_codes::GetResponse> =
    Endpoint {
        method: Method::GET,
        path: "/v1/b2b/recovery_codes/{organization_id}/{member_id}",
        headers: &[],
        effect: Effect::Reads,
        essential: &["member_id"],
        types: PhantomData,
    };

/// Replaces the recovery codes. Never sent twice: each call issues new ones.
pub const RECOVERY_CODES_ROTATE: Endpoint<
    recovery_codes::RotateRequest,
    recovery_codes::RotateResponse,
> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/recovery_codes/rotate",
    headers: &[],
    effect: Effect::Mutates,
    essential: &["recovery_codes"],
    types: PhantomData,
};

/// Authenticates a member by a recovery code. Never sent twice: the first call uses up the code.
pub const RECOVERY_CODES_RECOVER: Endpoint<
    recovery_codes::RecoverRequest,
    recovery_codes::RecoverResponse,
> = Endpoint {
    method: Method::POST,
    path: "/v1/b2b/recovery_codes/recover",
    headers: &[],
    effect: Effect::Mutates,
    essential: &["session_token", "session_jwt"],
    types: PhantomData,
};

/// Returns the method and the path of every endpoint.
pub(super) fn all() -> [(Method, &'static str); 7] {
    [
        (TOTP_CREATE.method, TOTP_CREATE.path),
        (TOTP_AUTHENTICATE.method, TOTP_AUTHENTICATE.path),
        (TOTP_MIGRATE.method, TOTP_MIGRATE.path),
        (TOTP_DELETE.method, TOTP_DELETE.path),
        (RECOVERY_CODES_GET.method, RECOVERY_CODES_GET.path),
        (RECOVERY_CODES_ROTATE.method, RECOVERY_CODES_ROTATE.path),
        (RECOVERY_CODES_RECOVER.method, RECOVERY_CODES_RECOVER.path),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::{FromJson, Label};

    fn essential_fields_are_written_only_if_not_empty<Req, Res: FromJson>(
        endpoint: &Endpoint<Req, Res>,
    ) {
        assert!(!endpoint.essential.is_empty(), "{}", endpoint.path);
        for name in endpoint.essential {
            let field = Res::TABLE.field(name);
            let field = field.unwrap_or_else(|| panic!("{}: no field {name}", endpoint.path));
            assert_ne!(field.label, Label::Optional, "{}: {name}", endpoint.path);
        }
    }

    #[test]
    fn every_endpoint_names_essential_fields_that_its_response_has() {
        essential_fields_are_written_only_if_not_empty(&TOTP_CREATE);
        essential_fields_are_written_only_if_not_empty(&TOTP_AUTHENTICATE);
        essential_fields_are_written_only_if_not_empty(&TOTP_MIGRATE);
        essential_fields_are_written_only_if_not_empty(&TOTP_DELETE);
        essential_fields_are_written_only_if_not_empty(&RECOVERY_CODES_GET);
        essential_fields_are_written_only_if_not_empty(&RECOVERY_CODES_ROTATE);
        essential_fields_are_written_only_if_not_empty(&RECOVERY_CODES_RECOVER);
    }
}
