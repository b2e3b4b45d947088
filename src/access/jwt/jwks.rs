//! A JWKS: the public keys of an issuer of JWTs.
//!
//! An issuer may publish keys of other types, for other uses, or in unknown forms beside those for
//! us. Each entry is therefore parsed on its own, and an entry that cannot be used is skipped. A
//! key verifies the algorithm that it names, or else all algorithms of its type.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::files::Content;

/// The maximum size of a JWKS, in bytes.
pub(super) const MAX_BYTES: usize = 256 * 1024;
/// The maximum number of its entries.
const MAX_KEYS: usize = 256;
/// The maximum number of keys to try for one token: more than an issuer uses at a time with one id.
const MAX_CANDIDATES: usize = 4;

/// The algorithms that are accepted, by the types of their keys. Symmetric ones are not.
const ACCEPTED: [&[Algorithm]; 4] = [RSA, P_256, P_384, ED25519_ONLY];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const P_256: &[Algorithm] = &[Algorithm::ES256];
const P_384: &[Algorithm] = &[Algorithm::ES384];
const ED25519_ONLY: &[Algorithm] = &[Algorithm::EdDSA];

/// Whether tokens that are signed with this algorithm are accepted.
pub(super) fn is_accepted(algorithm: Algorithm) -> bool {
    ACCEPTED.iter().any(|algorithms| algorithms.contains(&algorithm))
}

/// The keys of an issuer that can be used.
#[derive(Default)]
pub struct Keys(Vec<Key>);

/// A key that verifies signatures.
#[derive(PartialEq)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    material: Material,
}

/// The key itself, comparable so that duplicates are found.
struct Material(DecodingKey);

impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        use DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
        match (self.0.kind(), other.0.kind()) {
            (SecretOrDer(one), SecretOrDer(two)) => one == two,
            (RsaModulusExponent { n, e }, RsaModulusExponent { n: its_n, e: its_e }) => {
                n == its_n && e == its_e
            }
            _ => false,
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| (&key.id, &key.algorithms))).finish()
    }
}

impl Content for Keys {
    fn missing(&self) -> Option<String> {
        self.0.is_empty().then(|| "holds no key that can be used".to_owned())
    }
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The members of an entry that matter. All others may have any value.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Parses a JWKS. Keys that cannot be used are skipped, and duplicates are merged.
    ///
    /// # Errors
    ///
    /// The text is not a JWKS, or is too large.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        if json.len() > MAX_BYTES {
            return Err(format!("has more than {MAX_BYTES} bytes"));
        }
        // Bytes that are not UTF-8 spoil their own entry, and no other.
        let text = String::from_utf8_lossy(json);
        let Set { keys: entries } = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| format!("is not a JWKS: {error}"))?;
        if entries.len() > MAX_KEYS {
            return Err(format!("has more than {MAX_KEYS} keys"));
        }
        let mut keys: Vec<Key> = Vec::new();
        for entry in entries {
            let key = serde_json::from_str(entry.get()).ok().and_then(Entry::key);
            keys.extend(key.filter(|key| !keys.contains(key)));
        }
        Ok(Self(keys))
    }

    /// Returns the number of keys.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Selects the keys that may have signed a token with this algorithm and key id.
    ///
    /// An id selects all of its keys, of which there are several during a rotation that keeps the
    /// id. A token with an id that no key has may be signed by a key without an id, and a token
    /// without an id by any key; but only where exactly one key fits.
    ///
    /// # Errors
    ///
    /// No key fits, or too many do.
    pub(super) fn select(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> Result<Vec<&DecodingKey>, SelectionError> {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm);
        let named = |id: &str| {
            let keys = self.0.iter().filter(|key| key.id.as_deref() == Some(id));
            Some(keys.collect::<Vec<_>>()).filter(|keys| !keys.is_empty())
        };
        let (candidates, limit): (Vec<&Key>, _) = match id.map(named) {
            Some(Some(keys)) => (keys.into_iter().filter(fits).collect(), MAX_CANDIDATES),
            Some(None) => (self.0.iter().filter(|key| key.id.is_none()).filter(fits).collect(), 1),
            None => (self.0.iter().filter(fits).collect(), 1),
        };
        match candidates.len() {
            0 => Err(SelectionError::NotFound),
            count if count > limit => Err(SelectionError::Ambiguous),
            _ => Ok(candidates.into_iter().map(|key| &key.material.0).collect()),
        }
    }
}

/// Why no key is selected for a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SelectionError {
    /// No key fits.
    NotFound,
    /// More keys fit than may be tried.
    Ambiguous,
}

impl Entry {
    /// Returns the key, or `None` unless it verifies signatures with an accepted algorithm.
    fn key(self) -> Option<Key> {
        let for_signatures = self.r#use.as_deref().is_none_or(|it| it == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|it| it == "verify"));
        if !for_signatures {
            return None;
        }
        let (material, of_its_type) = self.material()?;
        let algorithms = match self.alg {
            None => of_its_type.to_vec(),
            Some(name) => {
                let named = name.parse().ok()?;
                vec![*of_its_type.iter().find(|it| **it == named)?]
            }
        };
        Some(Key { id: self.kid, algorithms, material: Material(material) })
    }

    /// Returns the key itself, and the algorithms of its type.
    fn material(&self) -> Option<(DecodingKey, &'static [Algorithm])> {
        let on_curve = |key: DecodingKey, curve: &'static dyn VerificationAlgorithm| {
            ParsedPublicKey::new(curve, key.try_get_as_bytes().ok()?).ok()?;
            Some(key)
        };
        let point = || DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?).ok();
        Some(match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let key = DecodingKey::from_rsa_components(self.n.as_deref()?, self.e.as_deref()?);
                (key.ok().filter(is_of_rsa_size)?, RSA)
            }
            ("EC", Some("P-256")) => (on_curve(point()?, &ECDSA_P256_SHA256_FIXED)?, P_256),
            ("EC", Some("P-384")) => (on_curve(point()?, &ECDSA_P384_SHA384_FIXED)?, P_384),
            ("OKP", Some("Ed25519")) => {
                let key = DecodingKey::from_ed_components(self.x.as_deref()?).ok()?;
                (on_curve(key, &ED25519)?, ED25519_ONLY)
            }
            _ => return None,
        })
    }
}

/// Whether the size of an RSA key is one that signatures can be verified with: 2048 to 8192 bits.
fn is_of_rsa_size(key: &DecodingKey) -> bool {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return false };
    let zeros = n.iter().take_while(|byte| **byte == 0).count();
    (2048 / 8..=8192 / 8).contains(&(n.len() - zeros)) && !e.is_empty() && e.len() <= 8
}
