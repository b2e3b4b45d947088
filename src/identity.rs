//! The names by which callers are known. Their prefixes are spelled in this file alone.

use std::{fmt, str::FromStr};

const SPIFFE: &str = "spiffe://";
const DNS: &str = "dns:";
const TOKEN: &str = "token:";
const JWT: &str = "jwt:";
const USER: &str = "unix:";

/// The user that Linux shows in place of one of another user namespace: it may be anybody.
const NOBODY: u32 = 65534;

/// The maximum length of a SPIFFE id. A subject of OpenID Connect has at most 255 bytes, one of
/// Kubernetes 340.
const MAX_BYTES: usize = 2048;

/// A name by which a caller is known: `spiffe://…`, `dns:NAME`, `token:NAME`, `jwt:SUBJECT` or
/// `unix:UID`.
///
/// It consists of visible ASCII characters, so that it cannot pass for another name in a policy or
/// in the audit trail. Only the subject of a JWT may contain blanks, and not at its ends. An
/// identity has at most 2,048 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity(String);

/// The error for a text that is not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not {SPIFFE}…, {DNS}NAME, {TOKEN}NAME or {JWT}SUBJECT in visible ASCII, or {USER}UID with a \
     number other than {NOBODY}"
)]
pub struct InvalidIdentity;

impl Identity {
    /// Returns the identity in a URI of a certificate, or `None` unless the URI is a SPIFFE id.
    /// Other URIs identify nobody: `dns:x` and `token:x` are URIs too.
    pub(crate) fn spiffe(uri: impl AsRef<str> + Into<String>) -> Option<Self> {
        uri.as_ref().starts_with(SPIFFE).then(|| Self::new(uri.into())).flatten()
    }

    /// Returns the identity of a DNS name in a certificate, or `None` if the name is invalid.
    pub(crate) fn dns(name: &str) -> Option<Self> {
        Self::new(format!("{DNS}{name}"))
    }

    /// Returns the identity of the owner of a bearer token, or `None` if the name is invalid.
    pub(crate) fn token(name: &str) -> Option<Self> {
        Self::new(format!("{TOKEN}{name}"))
    }

    /// Returns the identity of the subject of a JWT, or `None` if the subject is invalid.
    pub(crate) fn jwt(subject: &str) -> Option<Self> {
        Self::new(format!("{JWT}{subject}"))
    }

    /// Returns the identity of the user who owns the other end of a Unix domain socket, or `None`
    /// if the number stands for users of other user namespaces.
    pub(crate) fn user(uid: u32) -> Option<Self> {
        Self::new(format!("{USER}{uid}"))
    }

    fn new(text: String) -> Option<Self> {
        if let Some(uid) = text.strip_prefix(USER) {
            return user(uid).is_some().then_some(Self(text));
        }
        let prefix = [SPIFFE, DNS, TOKEN, JWT].into_iter().find(|it| text.starts_with(it))?;
        let name = &text[prefix.len()..];
        let may_have_blanks = prefix == JWT && name.trim_ascii() == name;
        let is_valid = |byte: u8| byte.is_ascii_graphic() || (may_have_blanks && byte == b' ');
        let is_name = !name.is_empty() && name.bytes().all(is_valid) && text.len() <= MAX_BYTES;
        is_name.then_some(Self(text))
    }

    /// Returns the name with its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the bearer token, or `None` if this is an identity of another kind.
    pub fn token_name(&self) -> Option<&str> {
        self.0.strip_prefix(TOKEN)
    }
}

/// Reads the number of a user, in its one spelling; `None` if it names nobody.
pub(crate) fn user(text: &str) -> Option<u32> {
    let uid: u32 = text.parse().ok()?;
    (uid != NOBODY && uid.to_string() == text).then_some(uid)
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        Self::new(text.to_owned()).ok_or(InvalidIdentity)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_of_a_known_kind_and_visible_and_neither_empty_nor_endless() {
        let long = |length: usize| format!("jwt:{}", "x".repeat(length - 4));
        for good in [
            "spiffe://example.org/ns/web/sa/login",
            "dns:login.internal",
            "token:login",
            "jwt:system:serviceaccount:web:login",
            "jwt:CN=a b",
            "unix:0",
            "unix:1000",
            &long(MAX_BYTES),
        ] {
            assert_eq!(good.parse::<Identity>().map(|it| it.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "login",
            "SPIFFE://x",
            "spiffe://",
            "dns:",
            "token:",
            "jwt:",
            "jwt: ",
            "jwt: x",
            "jwt:x ",
            "jwt:x\n",
            "jwt:x\0",
            "jwt:x\ty",
            "jwt:l\u{f6}gin",
            "jwt:login\u{202e}",
            "jwt:\u{200b}",
            "dns:a b",
            "token:\u{feff}login",
            "unix:",
            "unix:login",
            "unix:-1",
            "unix:+1",
            "unix:01",
            "unix:4294967296",
            "unix:65534",
            &long(MAX_BYTES + 1),
        ] {
            assert_eq!(bad.parse::<Identity>(), Err(InvalidIdentity), "{bad:?}");
        }
    }

    #[test]
    fn each_kind_is_made_from_its_name_alone_and_has_its_own_prefix() {
        let kinds = [Identity::dns("a"), Identity::token("a"), Identity::jwt("a")];

        assert_eq!(kinds.map(|it| it.unwrap().to_string()), ["dns:a", "token:a", "jwt:a"]);
        assert_eq!(Identity::token("a").unwrap().token_name(), Some("a"));
        assert_eq!(Identity::dns("a").unwrap().token_name(), None);
        assert_eq!(Identity::user(0).unwrap().to_string(), "unix:0");
        assert_eq!(Identity::user(NOBODY), None);
        for make in [Identity::dns, Identity::token, Identity::jwt] {
            assert_eq!(make(""), None);
        }
    }

    #[test]
    fn only_a_spiffe_id_with_something_in_it_names_a_workload() {
        assert!(Identity::spiffe("spiffe://a").is_some());
        for uri in ["spiffe://", "spiffe:/a", "dns:a", "token:a", "https://a", "spiffe://a b"] {
            assert!(Identity::spiffe(uri).is_none(), "{uri}");
        }
    }
}
