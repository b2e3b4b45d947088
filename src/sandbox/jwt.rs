//! Session JWTs, signed by a key of this process's own.

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

use super::Object;

struct Key {
    private: EncodingKey,
    public: DecodingKey,
    jwk: Jwk,
    id: String,
}

/// Made when it is first needed, for making it takes a while.
static KEY: LazyLock<Key> = LazyLock::new(|| Key::new().expect("a key can be made"));

impl Key {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
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

/// `claims` as a signed token.
pub(super) fn sign(claims: &Object) -> Result<String, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(KEY.id.clone());
    jsonwebtoken::encode(&header, claims, &KEY.private)
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// It is no JWT at all.
    Malformed,
    /// It is not ours, or no longer valid.
    Invalid,
}

/// The claims of a token of ours that is valid at `now`.
pub(super) fn verify(token: &str, now: SystemTime) -> Result<Object, Unverified> {
    jsonwebtoken::decode_header(token).map_err(|_| Unverified::Malformed)?;
    let mut validation = Validation::new(Algorithm::RS256);
    // By the sandbox's clock, below.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Object>(token, &KEY.public, &validation)
        .map_err(|_| Unverified::Invalid)?
        .claims;
    match claims.get("exp").and_then(Value::as_u64) {
        Some(end) if end > seconds(now) => Ok(claims),
        _ => Err(Unverified::Invalid),
    }
}

/// The public key, as the API publishes it.
pub(super) fn key_set() -> JwkSet {
    JwkSet { keys: vec![KEY.jwk.clone()] }
}

/// Whole seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
