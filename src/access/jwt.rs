//! JWTs of an issuer that this service trusts, for instance a cluster's service-account tokens.
//!
//! Issuer, audience and expiry are mandatory: a token that was made for somebody else is none. The keys are those
//! of a JWKS, from a file or a URL; symmetric ones are not taken.
//!
//! A caller sends one token with many calls, and a signature costs as much as the rest of a call. So what was found
//! good is remembered, by the token's hash, until the token ends or the keys are read anew.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, Validation, decode};
use moka::sync::Cache;
use reqwest::Url;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use tokio::sync::Notify;

use super::{Refusal, fetch::Fetching, from_file, jwks::Unclear};
pub use super::{fetch::check_token, jwks::Keys};
use crate::{
    files::{Reloaded, complete, is_blank},
    identity::{JWT, is_identity},
    telemetry::metrics::Metrics,
};

/// By how much clocks may differ, in seconds.
const LEEWAY: u64 = 30;
/// How large a token may be, in bytes; headers together have at most 16 KiB.
const LARGEST: usize = 12 * 1024;

/// How many tokens are remembered.
const REMEMBERED: u64 = 10_000;
/// How long one is remembered that is not used, and one whose end no clock can show.
const IDLE: Duration = Duration::from_secs(300);

const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What a token may say that it is: a JWT, or the same under the names of JWS, SPIFFE and RFC 9068. Others, such as a
/// `logout+jwt`, are of the same issuer and for the same audience, but no credential.
const TYPES: [&str; 3] = ["jwt", "jose", "at+jwt"];

/// Whose tokens are taken, and for whom they must be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Claim `iss`.
    pub issuer: String,
    /// Claim `aud`: this service.
    pub audience: String,
    /// Where the issuer's keys are.
    pub keys: Source,
    /// Authorities that are trusted beside the system's when the keys are fetched, PEM.
    pub ca_file: Option<PathBuf>,
    /// A bearer token to fetch them with.
    pub token_file: Option<PathBuf>,
}

/// Where a JWKS is.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a file, which is read again when it changes.
    File(PathBuf),
    /// Behind a URL, which is asked again every five minutes.
    Url(Url),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    issuer: String,
    audience: String,
    /// None until they have been fetched.
    keys: Reloaded<Option<Keys>>,
    unknown_key: Arc<Notify>,
    good: Cache<Hash, Arc<Good>>,
}

type Hash = [u8; SHA256_OUTPUT_LEN];

/// A token that was found good.
#[derive(Debug)]
struct Good {
    /// `jwt:SUBJECT`, by which a policy knows it.
    bearer: Arc<[String]>,
    ends: SystemTime,
    /// Those of then.
    keys: Weak<Option<Keys>>,
}

impl Good {
    fn still_is(&self, keys: &Arc<Option<Keys>>) -> bool {
        std::ptr::eq(self.keys.as_ptr(), Arc::as_ptr(keys)) && SystemTime::now() < self.ends
    }
}

impl Verifier {
    /// With the keys of now, and of later. Needs a runtime.
    pub(super) fn new(settings: &Settings, metrics: &Metrics) -> Result<Self, String> {
        let unknown_key = Arc::new(Notify::new());
        let keys = match settings.keys.clone() {
            Source::File(path) => {
                let paths = vec![path.clone()];
                let load = move || load(&path).map(Some);
                Reloaded::from_files(metrics, "jwks", paths, load)?
            }
            Source::Url(url) => {
                let keys = Reloaded::fixed(None);
                let (ca_file, token_file) = (settings.ca_file.clone(), settings.token_file.clone());
                Fetching::new(url, ca_file, token_file, metrics)?
                    .start(keys.clone(), Arc::clone(&unknown_key));
                keys
            }
        };
        let good = Cache::builder().max_capacity(REMEMBERED).time_to_idle(IDLE).build();
        let Settings { issuer, audience, .. } = settings.clone();
        Ok(Self { issuer, audience, keys, unknown_key, good })
    }

    /// The identity of whom `token` is for, if it is good.
    pub(super) fn bearer_of(&self, token: &str) -> Result<Arc<[String]>, Refusal> {
        if token.len() > LARGEST {
            return Err(TOO_LARGE);
        }
        let keys = self.keys.get();
        let mut hash = Hash::default();
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(good) = self.good.get(&hash).filter(|good| good.still_is(&keys)) {
            return Ok(Arc::clone(&good.bearer));
        }
        let verified = match &*keys {
            Some(keys) => keys.verify(token, &self.issuer, &self.audience),
            // What is no JWT needs no key to be refused.
            None => Header::of(token).and(Err(Refusal::KeysUnavailable)),
        };
        let Verified { identity, ends } = verified.inspect_err(|refusal| {
            if *refusal == UNKNOWN_KEY {
                self.unknown_key.notify_one();
            }
        })?;
        let bearer: Arc<[String]> = Arc::new([identity]);
        let good = Good { bearer: Arc::clone(&bearer), ends, keys: Arc::downgrade(&keys) };
        self.good.insert(hash, Arc::new(good));
        Ok(bearer)
    }
}

/// What is known by a good token.
#[derive(Debug)]
pub struct Verified {
    /// `jwt:SUBJECT`, by which a policy knows the caller.
    pub identity: String,
    /// When the token ends.
    pub ends: SystemTime,
}

const TOO_LARGE: Refusal = Refusal::Unknown("the token is too large");
const UNKNOWN_KEY: Refusal = Refusal::Unknown("the JWT's key is not known");

impl Keys {
    /// Whom `token` is for, if one of these keys has signed it for this issuer and audience.
    ///
    /// # Errors
    ///
    /// Why it is not taken.
    pub fn verify(&self, token: &str, issuer: &str, audience: &str) -> Result<Verified, Refusal> {
        if token.len() > LARGEST {
            return Err(TOO_LARGE);
        }
        let header = Header::of(token)?;
        let keys = self.of(header.alg, header.kid.as_deref()).map_err(|unclear| match unclear {
            Unclear::Unknown => UNKNOWN_KEY,
            Unclear::Ambiguous => Refusal::Unknown("several keys could be the JWT's"),
        })?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let claims = keys.iter().find_map(|key| decode(token, key, &validation).ok());
        let Claims { sub, exp, .. } = claims
            .ok_or(Refusal::Unknown(
                "the JWT is not valid, not for this service, or no longer good",
            ))?
            .claims;
        let identity = format!("{JWT}{sub}");
        if !is_identity(&identity) {
            return Err(Refusal::Unknown("the JWT's subject names nobody"));
        }
        // An end that no clock can show is looked at again in a while.
        let ends = Duration::try_from_secs_f64(exp)
            .ok()
            .and_then(|exp| UNIX_EPOCH.checked_add(exp))
            .unwrap_or(SystemTime::now() + IDLE);
        Ok(Verified { identity, ends })
    }
}

/// What counts of a token's header, before anything in it is believed.
#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default)]
    crit: Present,
}

/// Whether a field is there, whatever it is, also when it is null.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Header {
    /// The header of a token whose form is taken.
    fn of(token: &str) -> Result<Self, Refusal> {
        let header = token.split_once('.').and_then(|(header, _)| {
            let json = BASE64URL_NOPAD.decode(header.as_bytes()).ok()?;
            serde_json::from_slice::<Self>(&json).ok()
        });
        let header = header.ok_or(Refusal::Unknown("the token is not known, and no JWT"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refusal::Unknown("the JWT's algorithm is not taken"));
        }
        // RFC 7515: an extension that has to be understood, of which none is.
        if header.crit.0 {
            return Err(Refusal::Unknown("the JWT has an extension that is not understood"));
        }
        if !header.typ.as_deref().is_none_or(is_credential) {
            return Err(Refusal::Unknown("the JWT is of a type that is no credential"));
        }
        Ok(header)
    }
}

/// Whether a token of this type is meant to be shown by its bearer. It is a media type, which has no case.
fn is_credential(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}

/// Each as a token must have it. The library has checked what they say, but would take a list of issuers.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(rename = "iss")]
    _issuer: String,
}

/// Reads the keys in a file, for a start.
///
/// # Errors
///
/// What is wrong with it.
pub fn read(path: &Path) -> Result<Keys, String> {
    load(path).and_then(complete)
}

/// Reads the keys in a file; there is none in one that is blank.
fn load(path: &Path) -> Result<Keys, String> {
    from_file(path, |json| match is_blank(json.as_bytes()) {
        true => Ok(Keys::default()),
        false => Keys::parse(json.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_good_holds_until_the_token_ends_or_the_keys_are_read_anew() {
        let keys = || Arc::new(Some(Keys::default()));
        let (then, now) = (keys(), keys());
        let soon = SystemTime::now() + Duration::from_secs(60);
        let past = SystemTime::now() - Duration::from_secs(1);
        let good = |ends| Good { bearer: Arc::new([]), ends, keys: Arc::downgrade(&then) };

        assert!(good(soon).still_is(&then));
        assert!(!good(past).still_is(&then), "it has ended");
        assert!(!good(soon).still_is(&now), "its key may be gone");
    }
}
