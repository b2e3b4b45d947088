//! Session JWTs, signed with a key that each process generates for itself.

use std::{sync::LazyLock, time::SystemTime};

use aws_lc_rs::{
    encoding::AsDer as _,
    rsa::{KeyPair, KeySize},
};
use data_encoding::BASE64;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use serde_json::Value;
use uuid::Uuid;

use super::{clock::seconds, object::Object};

struct Key {
    private: EncodingKey,
    public: DecodingKey,
    jwk: Jwk,
    id: String,
}

/// Generated on first use, because generating an RSA key takes a while.
static KEY: LazyLock<Key> = LazyLock::new(|| Key::generate().expect("an RSA key can be generated"));

impl Key {
    fn generate() -> Result<Self, Box<dyn std::error::Error>> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let pkcs8 = pair.as_der()?;
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64.encode(pkcs8.as_ref())
        );
        let private = EncodingKey::from_rsa_pem(pem.as_bytes())?;
        let mut jwk = Jwk::from_encoding_key(&private, Algorithm::RS256)?;
        let id = format!("jwk-test-{}", Uuid::new_v4());
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self { private, public: DecodingKey::from_jwk(&jwk)?, jwk, id })
    }
}

/// Signs a JWT with these claims.
pub(super) fn sign(claims: &Object) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(KEY.id.clone());
    jsonwebtoken::encode(&header, claims, &KEY.private)
}

/// Why a JWT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JwtError {
    /// It is not a JWT.
    Malformed,
    /// This process did not sign it, or it has expired.
    Invalid,
}

/// Verifies a JWT at `now`, and returns its claims.
pub(super) fn verify(token: &str, now: SystemTime) -> Result<Object, JwtError> {
    jsonwebtoken::decode_header(token).map_err(|_| JwtError::Malformed)?;
    let mut validation = Validation::new(Algorithm::RS256);
    // The library compares with the system's clock; we compare with the sandbox's, below.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Object>(token, &KEY.public, &validation)
        .map_err(|_| JwtError::Invalid)?
        .claims;
    match claims.get("exp").and_then(Value::as_u64) {
        Some(end) if end > seconds(now) => Ok(claims),
        _ => Err(JwtError::Invalid),
    }
}

/// Returns the JWKS with the public key, as the API publishes it.
pub(super) fn jwks() -> JwkSet {
    JwkSet { keys: vec![KEY.jwk.clone()] }
}
