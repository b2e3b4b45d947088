//! A JWKS: the public keys of an issuer of JWTs.
//!
//! An issuer may serve whatever it likes beside its keys for us: keys of other kinds, for other uses, or of a form
//! that nobody here knows. So each entry is read by itself, and one that cannot be used is left out. A key verifies
//! the algorithms that fit its type, and only the one that it names, if it names one.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::files::Content;

/// How large a JWKS may be, in bytes.
pub(super) const LARGEST: usize = 256 * 1024;
/// How many entries it may have.
const MOST: usize = 256;
/// Of how many keys of one id a signature may be: more than an issuer has at once, and few enough to try.
const TRIED: usize = 4;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The keys of an issuer.
#[derive(Default)]
pub struct Keys(Vec<Key>);

/// One that can verify.
#[derive(PartialEq)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    material: Material,
}

/// The key itself; two entries may have the same.
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

/// What counts of an entry. The rest is whatever it is.
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
    /// Reads a JWKS. A key that cannot be used is left out.
    ///
    /// # Errors
    ///
    /// When it is no JWKS, or a larger one than is taken.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        if json.len() > LARGEST {
            return Err(format!("has more than {LARGEST} bytes"));
        }
        // What is not UTF-8 makes its own entry odd, and no other.
        let text = String::from_utf8_lossy(json);
        let Set { keys: entries } = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| format!("is no JWKS: {error}"))?;
        if entries.len() > MOST {
            return Err(format!("has more than {MOST} keys"));
        }
        let mut keys: Vec<Key> = Vec::new();
        for entry in entries {
            let key = serde_json::from_str(entry.get()).ok().and_then(Entry::key);
            keys.extend(key.filter(|key| !keys.contains(key)));
        }
        Ok(Self(keys))
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Those of which one may have signed a token that names this algorithm and key. A key without an id may be
    /// meant by any, or by none; but only where it is the only one.
    ///
    /// # Errors
    ///
    /// When there is none, or it is not clear which.
    pub(super) fn of(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> Result<Vec<&DecodingKey>, Unclear> {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm);
        let named = |id: &str| {
            let its = self.0.iter().filter(|key| key.id.as_deref() == Some(id));
            Some(its.collect::<Vec<_>>()).filter(|its| !its.is_empty())
        };
        let (candidates, most): (Vec<&Key>, _) = match id.map(named) {
            Some(Some(of_the_id)) => (of_the_id.into_iter().filter(fits).collect(), TRIED),
            Some(None) => (self.0.iter().filter(|key| key.id.is_none()).filter(fits).collect(), 1),
            None => (self.0.iter().filter(fits).collect(), 1),
        };
        match candidates.len() {
            0 => Err(Unclear::Unknown),
            count if count > most => Err(Unclear::Ambiguous),
            _ => Ok(candidates.into_iter().map(|key| &key.material.0).collect()),
        }
    }
}

/// Why there is no key for a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// There is none such, now.
    Unknown,
    /// Several might be meant.
    Ambiguous,
}

impl Entry {
    /// The key, if it is one that verifies signatures.
    fn key(self) -> Option<Key> {
        let for_signatures = self.r#use.as_deref().is_none_or(|it| it == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|it| it == "verify"));
        if !for_signatures {
            return None;
        }
        let (material, fitting) = self.material()?;
        let algorithms = match self.alg {
            None => fitting.to_vec(),
            Some(name) => {
                let named = name.parse().ok()?;
                vec![*fitting.iter().find(|it| **it == named)?]
            }
        };
        Some(Key { id: self.kid, algorithms, material: Material(material) })
    }

    /// The key itself, and the algorithms of its type.
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
            ("EC", Some("P-256")) => {
                (on_curve(point()?, &ECDSA_P256_SHA256_FIXED)?, &[Algorithm::ES256])
            }
            ("EC", Some("P-384")) => {
                (on_curve(point()?, &ECDSA_P384_SHA384_FIXED)?, &[Algorithm::ES384])
            }
            ("OKP", Some("Ed25519")) => {
                let key = DecodingKey::from_ed_components(self.x.as_deref()?).ok()?;
                (on_curve(key, &ED25519)?, &[Algorithm::EdDSA])
            }
            _ => return None,
        })
    }
}

/// Whether an RSA key has as many bits as signatures are verified with.
fn is_of_rsa_size(key: &DecodingKey) -> bool {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return false };
    let zeros = n.iter().take_while(|byte| **byte == 0).count();
    (2048 / 8..=8192 / 8).contains(&(n.len() - zeros)) && !e.is_empty() && e.len() <= 8
}
