//! What makes two calls the same: the key that the caller gave, and what it asked for.

use aws_lc_rs::digest::{Context, SHA256, digest};
use tonic::metadata::MetadataMap;

use crate::proto::metadata::IDEMPOTENCY_KEY;

/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// A key as a caller gave it, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// The key of a call, if it has one.
    ///
    /// # Errors
    ///
    /// When it is malformed: what is wrong with it.
    pub fn of(metadata: &MetadataMap) -> Result<Option<Self>, &'static str> {
        let mut values = metadata.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err("must be given once");
        }
        match value.to_str() {
            Ok(key) if is_key(key) => Ok(Some(Self(key.to_owned()))),
            _ => Err("must be 1 to 255 visible ASCII characters"),
        }
    }
}

fn is_key(text: &str) -> bool {
    (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Names the record of a key: whose it is, for which method of which project. A hash, so that a store
/// tells nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity([u8; 32]);

impl Identity {
    /// The record of `key`, given by `caller` for `method`, on a Stytch project.
    pub(super) fn new(project_id: &str, caller: &str, method: &str, key: &Key) -> Self {
        let mut hash = Context::new(&SHA256);
        // With their lengths, so that no two different lists are the same bytes.
        for part in [project_id, caller, method, &key.0] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(bytes(hash.finish().as_ref()))
    }
}

impl AsRef<[u8]> for Identity {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What a call asks for, to tell a repetition from another request with the same key. It is kept sealed,
/// for a passcode could be found from its hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a request. Its encoding is canonical: free-form objects are sorted maps, and
    /// unknown fields have been dropped.
    pub fn of(request: &impl prost::Message) -> Self {
        Self(bytes(digest(&SHA256, &request.encode_to_vec()).as_ref()))
    }
}

impl AsRef<[u8]> for Fingerprint {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn bytes(digest: &[u8]) -> [u8; 32] {
    digest.try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key(text.to_owned())
    }

    #[test]
    fn every_part_of_the_scope_makes_another_record() {
        let scope = ["project", "caller", "method", "key"];
        let identity = |[project, caller, method, it]: [&str; 4]| {
            Identity::new(project, caller, method, &key(it))
        };
        let base = identity(scope);

        assert_eq!(identity(scope), base);
        for part in 0..4 {
            let mut other = scope;
            other[part] = "other";
            assert_ne!(identity(other), base, "{other:?}");
        }
        assert_ne!(identity(["projectc", "aller", "method", "key"]), base, "a moved boundary");
    }
}
