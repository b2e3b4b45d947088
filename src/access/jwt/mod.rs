//! JWTs of a trusted issuer, for instance the service account tokens of a Kubernetes cluster.
//!
//! A caller sends the same token with many calls, and verifying a signature costs as much as the
//! rest of a call. Valid tokens are therefore cached by their hashes, until they expire or the JWKS
//! is read again.

mod fetch;
mod jwks;
mod verify;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use moka::sync::Cache;
use reqwest::Url;
use tokio::sync::Notify;

use super::{
    credential::{Credential, Identities, Presented},
    refusal::Refusal,
};
use crate::{
    files::{self, Reloaded, complete, is_blank},
    telemetry::metrics::Metrics,
};
use fetch::Fetcher;
pub use fetch::check_token;
pub use jwks::Keys;
pub use verify::Verified;

/// The maximum number of cached tokens.
const CACHE_CAPACITY: u64 = 10_000;
/// How long an unused token stays in the cache.
const CACHE_IDLE: Duration = Duration::from_secs(300);

/// Which tokens are accepted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`: this service.
    pub audience: String,
    /// The location of the issuer's keys.
    pub keys: Source,
    /// Authorities to trust beside the system's when fetching the JWKS, PEM.
    pub ca_file: Option<PathBuf>,
    /// A file with the bearer token to send when fetching the JWKS.
    pub token_file: Option<PathBuf>,
}

/// The location of a JWKS.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, which is read again when it changes.
    File(PathBuf),
    /// A URL, which is fetched again every five minutes.
    Url(Url),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// Identifies callers by their JWTs.
#[derive(Debug)]
pub(super) struct Jwts {
    issuer: String,
    audience: String,
    /// `None` until the JWKS has been fetched.
    keys: Reloaded<Option<Keys>>,
    unknown_key: Arc<Notify>,
    cache: Cache<Hash, Arc<Cached>>,
}

type Hash = [u8; SHA256_OUTPUT_LEN];

/// What is cached of a valid token.
#[derive(Debug)]
struct Cached {
    identities: Identities,
    expires_at: SystemTime,
    /// The keys that have verified the token.
    keys: Weak<Option<Keys>>,
}

impl Cached {
    fn is_valid(&self, keys: &Arc<Option<Keys>>) -> bool {
        std::ptr::eq(self.keys.as_ptr(), Arc::as_ptr(keys)) && SystemTime::now() < self.expires_at
    }
}

impl Jwts {
    /// Loads the JWKS, or starts to fetch it. Needs a runtime.
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
                Fetcher::new(url, ca_file, token_file, metrics)?
                    .start(keys.clone(), Arc::clone(&unknown_key));
                keys
            }
        };
        let cache = Cache::builder().max_capacity(CACHE_CAPACITY).time_to_idle(CACHE_IDLE).build();
        let Settings { issuer, audience, .. } = settings.clone();
        Ok(Self { issuer, audience, keys, unknown_key, cache })
    }

    fn verify(&self, token: &str) -> Result<Identities, Refusal> {
        verify::check_size(token)?;
        let keys = self.keys.borrow();
        let mut hash = Hash::default();
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(cached) = self.cache.get(&hash).filter(|cached| cached.is_valid(&keys)) {
            return Ok(Arc::clone(&cached.identities));
        }
        let verified = match &**keys {
            Some(keys) => keys.verify(token, &self.issuer, &self.audience),
            // Without keys, a token that is not a JWT is refused as such.
            None => verify::check_header(token).and(Err(Refusal::KeysUnavailable)),
        };
        let Verified { identity, expires_at } = verified.inspect_err(|refusal| {
            if *refusal == verify::UNKNOWN_KEY {
                self.unknown_key.notify_one();
            }
        })?;
        let identities: Identities = Arc::new([identity]);
        let keys = Arc::downgrade(&keys);
        let cached = Cached { identities: Arc::clone(&identities), expires_at, keys };
        self.cache.insert(hash, Arc::new(cached));
        Ok(identities)
    }
}

impl Credential for Jwts {
    fn identities(&self, presented: &Presented<'_>) -> Result<Option<Identities>, Refusal> {
        presented.bearer?.map(|token| self.verify(token)).transpose()
    }
}

/// Reads a JWKS from a file, as at start: it must hold a key that can be used.
///
/// # Errors
///
/// What is wrong with the file.
pub fn read(path: &Path) -> Result<Keys, String> {
    load(path).and_then(complete)
}

/// Reads a JWKS from a file, as when it has changed: it may hold no keys, or be blank.
fn load(path: &Path) -> Result<Keys, String> {
    files::parse(path, |json| match is_blank(json.as_bytes()) {
        true => Ok(Keys::default()),
        false => Keys::parse(json.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verified_token_is_cached_until_it_expires_or_the_jwks_is_reloaded() {
        let keys = || Arc::new(Some(Keys::default()));
        let (then, now) = (keys(), keys());
        let soon = SystemTime::now() + Duration::from_secs(60);
        let past = SystemTime::now() - Duration::from_secs(1);
        let cached = |expires_at| Cached {
            identities: Arc::new([]),
            expires_at,
            keys: Arc::downgrade(&then),
        };

        assert!(cached(soon).is_valid(&then));
        assert!(!cached(past).is_valid(&then), "the token has expired");
        assert!(!cached(soon).is_valid(&now), "its key may have been removed");
    }
}
