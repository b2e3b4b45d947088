//! The verification of a JWT by the keys of a JWKS.
//!
//! Issuer, audience and expiry are mandatory, so that a token that was issued for another service
//! is refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, Validation, decode};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::jwks::{Keys, SelectionError, is_accepted};
use crate::{access::refusal::Refusal, identity::Identity};

/// The tolerated difference between the issuer's clock and ours, in seconds.
const LEEWAY: u64 = 30;
/// The maximum size of a token, in bytes. All headers together have at most 16 KiB.
const MAX_BYTES: usize = 12 * 1024;
/// How long to rely on a token whose expiry is later than a clock can show.
const ENDLESS: Duration = Duration::from_secs(300);

/// The types of tokens that are accepted: a JWT, or the same under the names of JWS, SPIFFE and RFC
/// 9068. The issuer may sign tokens of other types for the same audience, such as a `logout+jwt`,
/// which are no credentials.
const TYPES: [&str; 3] = ["jwt", "jose", "at+jwt"];

/// The refusal of a token whose key may be in a newer JWKS.
pub(super) const UNKNOWN_KEY: Refusal = Refusal::Unknown("the JWT's key is unknown");

/// What a valid token says.
#[derive(Debug)]
pub struct Verified {
    /// The identity of the token's subject.
    pub identity: Identity,
    /// When the token expires.
    pub expires_at: SystemTime,
}

impl Keys {
    /// Verifies that one of these keys has signed `token` for this issuer and audience.
    ///
    /// # Errors
    ///
    /// Why the token is refused.
    pub fn verify(&self, token: &str, issuer: &str, audience: &str) -> Result<Verified, Refusal> {
        check_size(token)?;
        let header = Header::parse(token)?;
        let keys = self.select(header.alg, header.kid.as_deref()).map_err(|error| match error {
            SelectionError::NotFound => UNKNOWN_KEY,
            SelectionError::Ambiguous => Refusal::Unknown("several keys could be the JWT's"),
        })?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let Claims { sub, exp, .. } = keys
            .iter()
            .find_map(|key| decode(token, key, &validation).ok())
            .ok_or(Refusal::Unknown("the JWT is invalid, expired, or not meant for this service"))?
            .claims;
        let identity = Identity::jwt(&sub)
            .ok_or(Refusal::Unknown("the JWT's subject is not a valid identity"))?;
        let expires_at = Duration::try_from_secs_f64(exp)
            .ok()
            .and_then(|exp| UNIX_EPOCH.checked_add(exp))
            .unwrap_or(SystemTime::now() + ENDLESS);
        Ok(Verified { identity, expires_at })
    }
}

/// Refuses a token that is too large to be hashed or parsed.
pub(super) fn check_size(token: &str) -> Result<(), Refusal> {
    match token.len() {
        0..=MAX_BYTES => Ok(()),
        _ => Err(Refusal::Unknown("the token is too large")),
    }
}

/// Refuses a token that would be refused whatever its key is.
pub(super) fn check_header(token: &str) -> Result<(), Refusal> {
    Header::parse(token).map(drop)
}

/// The fields of a token's header that matter. They are not verified yet.
#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default)]
    crit: IsPresent,
}

/// Whether a field is present, with whatever value, even null.
#[derive(Default)]
struct IsPresent(bool);

impl<'de> Deserialize<'de> for IsPresent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Header {
    /// Parses the header of a token, and refuses kinds of tokens that are not accepted.
    fn parse(token: &str) -> Result<Self, Refusal> {
        let header = token.split_once('.').and_then(|(header, _)| {
            let json = BASE64URL_NOPAD.decode(header.as_bytes()).ok()?;
            serde_json::from_slice::<Self>(&json).ok()
        });
        let header = header.ok_or(Refusal::Unknown("the token is neither known nor a JWT"))?;
        if !is_accepted(header.alg) {
            return Err(Refusal::Unknown("the JWT's algorithm is not accepted"));
        }
        // RFC 7515: the recipient must understand these extensions, and we understand none.
        if header.crit.0 {
            return Err(Refusal::Unknown("the JWT has a critical extension"));
        }
        if !header.typ.as_deref().is_none_or(is_credential) {
            return Err(Refusal::Unknown("the JWT's type is not that of a credential"));
        }
        Ok(header)
    }
}

/// Whether tokens of this type are credentials. It is a media type, which is case-insensitive.
fn is_credential(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}

/// The claims of a token. `decode` checks their values, but would accept a list of issuers.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(rename = "iss")]
    _issuer: String,
}
