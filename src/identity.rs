//! The names by which callers are known: `spiffe://…`, `dns:NAME`, `token:NAME` and `jwt:SUBJECT`.

/// Where an identity comes from is how it begins.
const KINDS: [&str; 4] = ["spiffe://", "dns:", "token:", JWT];
pub(crate) const JWT: &str = "jwt:";

/// As long as a SPIFFE id may be; a subject of OpenID Connect has 255 bytes at most, one of Kubernetes 340.
const LONGEST: usize = 2048;

/// Whether this may name a caller. What is empty names nobody, and what cannot be printed, or only looks like another
/// name, has no place in a policy or an audit trail: so it is visible ASCII, with blanks only inside a JWT's subject.
pub(crate) fn is_identity(text: &str) -> bool {
    let Some((kind, name)) = KINDS.iter().find_map(|kind| Some((*kind, text.strip_prefix(kind)?)))
    else {
        return false;
    };
    let blanks = kind == JWT && name.trim_ascii() == name;
    let visible = |byte: u8| byte.is_ascii_graphic() || (blanks && byte == b' ');
    !name.is_empty() && text.len() <= LONGEST && name.bytes().all(visible)
}

/// Whether a URI names a workload. Others are no identities: `dns:x` and `token:x` are URIs too.
pub(crate) fn is_spiffe_id(uri: &str) -> bool {
    uri.starts_with("spiffe://") && is_identity(uri)
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
            &long(LONGEST),
        ] {
            assert!(is_identity(good), "{good}");
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
            &long(LONGEST + 1),
        ] {
            assert!(!is_identity(bad), "{bad:?}");
        }
    }

    #[test]
    fn only_a_spiffe_id_with_something_in_it_names_a_workload() {
        assert!(is_spiffe_id("spiffe://a"));
        for uri in ["spiffe://", "spiffe:/a", "dns:a", "token:a", "https://a", "spiffe://a b"] {
            assert!(!is_spiffe_id(uri), "{uri}");
        }
    }
}
