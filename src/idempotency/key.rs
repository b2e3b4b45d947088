//! Idempotency keys, the names of their records, and fingerprints of requests.

use std::hash::{Hash, Hasher};

use aws_lc_rs::digest::{Context, SHA256, digest};
use tonic::metadata::MetadataMap;

use crate::proto::metadata::IDEMPOTENCY_KEY;

/// The maximum length of a key, in characters.
const MAX_LEN: usize = 255;

/// A well-formed idempotency key, as the caller chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Reads the key of a call, if it has one.
    ///
    /// # Errors
    ///
    /// A description of what is wrong with the key.
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
    (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The name of a key's record: a hash, so that a store learns nothing from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordId([u8; 32]);

impl Hash for RecordId {
    /// It is a hash already: a part of it tells records apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (part, _) = self.0.split_first_chunk().expect("32 bytes");
        state.write_u64(u64::from_ne_bytes(*part));
    }
}

impl RecordId {
    /// The record of `key`, used by `caller` for `method` of a Stytch project.
    pub(super) fn new(project_id: &str, caller: &str, method: &str, key: &Key) -> Self {
        let mut hash = Context::new(&SHA256);
        // The lengths keep different lists of parts from being the same bytes.
        for part in [project_id, caller, method, &key.0] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(bytes(hash.finish().as_ref()))
    }

    #[cfg(test)]
    pub(super) fn of_test(key: &str) -> Self {
        Self::new("project", "caller", "method", &Key(key.to_owned()))
    }
}

impl AsRef<[u8]> for RecordId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A hash of a request, which distinguishes a retry from another request with the same key. It is
/// stored encrypted only: a passcode can be guessed from its hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a request. Equal requests have equal encodings: free-form objects
    /// are sorted maps, and unknown fields have been dropped.
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
        let id = |[project, caller, method, it]: [&str; 4]| {
            RecordId::new(project, caller, method, &key(it))
        };
        let base = id(scope);

        assert_eq!(id(scope), base);
        for part in 0..4 {
            let mut other = scope;
            other[part] = "other";
            assert_ne!(id(other), base, "{other:?}");
        }
        assert_ne!(id(["projectc", "aller", "method", "key"]), base, "a moved boundary");
    }
}
