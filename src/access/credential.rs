//! What a call presents, and what a kind of credential makes of it.

use std::{fmt, sync::Arc};

use http::{HeaderMap, header::AUTHORIZATION};

use super::{proxies::Sender, refusal::Refusal};
use crate::{connection::Peer, identity::Identity};

/// The names by which one caller is known.
pub(super) type Identities = Arc<[Identity]>;

/// A kind of credential.
pub(super) trait Credential: fmt::Debug + Send + Sync {
    /// Returns the identities of the caller, or `None` if the call presents no credential of this
    /// kind.
    ///
    /// # Errors
    ///
    /// The credential is presented but not accepted.
    fn identities(&self, presented: &Presented<'_>) -> Result<Option<Identities>, Refusal>;
}

/// Everything in which a call may carry a credential.
pub(super) struct Presented<'a> {
    pub(super) headers: &'a HeaderMap,
    /// The bearer token, if there is one.
    pub(super) bearer: Result<Option<&'a str>, Refusal>,
    pub(super) peer: &'a Peer,
    pub(super) sender: Sender,
}

impl<'a> Presented<'a> {
    pub(super) fn new(headers: &'a HeaderMap, peer: &'a Peer, sender: Sender) -> Self {
        Self { headers, bearer: bearer_token(headers), peer, sender }
    }
}

/// Returns the bearer token of a call, or `None` without an `authorization` header.
///
/// # Errors
///
/// There are several `authorization` headers, or the one does not hold a bearer token.
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Unknown("more than one authorization header"));
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    token.map(Some).ok_or(Refusal::Unknown("the authorization header holds no bearer token"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_as_it_is_and_anything_else_is_refused() {
        for (values, expected, reason) in [
            (&[][..], Ok(None), "no header"),
            (&["Bearer abc"][..], Ok(Some("abc")), "a token"),
            (&["bearer abc"], Ok(Some("abc")), "schemes are case-insensitive"),
            (&["Bearer  abc"], Ok(Some(" abc")), "a second blank belongs to the token"),
            (&["Basic abc"], Err(()), "another scheme"),
            (&["abc"], Err(()), "no scheme"),
            (&["Bearer"], Err(()), "no token"),
            (&["Bearer a", "Bearer a"], Err(()), "two headers"),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }

            assert_eq!(bearer_token(&headers).map_err(drop), expected, "{reason}");
        }
    }
}
