//! JWTs of an issuer that this service trusts, for instance a cluster's service-account tokens.
//!
//! Issuer, audience and expiry are mandatory: a token that was made for somebody else is none. The keys are those
//! of a JWKS, from a file or a URL; symmetric ones are not taken.
//!
//! A caller sends one token with many calls, and a signature costs as much as the rest of a call. So what was found
//! good is remembered, by the token's hash, until the token ends or the keys are read anew.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use moka::sync::Cache;
use reqwest::Url;
use serde::Deserialize;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{Refusal, from_file};
use crate::{
    http_client,
    metrics::{Metrics, Reloads},
    reload::{Content, Reloaded, complete},
    text_file::is_blank,
};

/// How often the keys behind a URL are fetched.
const REFRESH: Duration = Duration::from_secs(300);
/// How soon again, when a token names a key that is not known, or when that failed.
const SOONEST: Duration = Duration::from_secs(10);
/// How soon again, as long as it has never succeeded.
const FIRST: Duration = Duration::from_secs(1);
/// How long a fetch may take, and how large its answer may be.
const FETCH: Duration = Duration::from_secs(5);
const LARGEST: usize = 256 * 1024;
/// By how much clocks may differ, in seconds.
const LEEWAY: u64 = 30;

/// How many tokens are remembered.
const REMEMBERED: u64 = 10_000;

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

/// Whose tokens are taken, and for whom they must be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Claim `iss`.
    pub issuer: String,
    /// Claim `aud`: this service.
    pub audience: String,
    /// Where the issuer's keys are.
    pub keys: Source,
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

/// The keys of an issuer, by their ids.
#[derive(Default)]
pub struct Keys(HashMap<String, DecodingKey>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Content for Keys {
    fn missing(&self) -> Option<String> {
        self.0.is_empty().then(|| "holds no key with an id that can be used".to_owned())
    }
}

impl Keys {
    /// Reads a JWKS. A key that cannot be used is left out.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let set: JwkSet = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let keys = set.keys.iter().filter_map(|key| {
            let id = key.common.key_id.clone()?;
            Some((id, DecodingKey::from_jwk(key).ok()?))
        });
        Ok(Self(keys.collect()))
    }
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    settings: Settings,
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

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
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
                let (keys, reloads) = (Reloaded::fixed(None), metrics.reloads("jwks"));
                tokio::spawn(fetch_for_ever(url, keys.clone(), Arc::clone(&unknown_key), reloads));
                keys
            }
        };
        let good = Cache::builder().max_capacity(REMEMBERED).time_to_idle(REFRESH).build();
        Ok(Self { settings: settings.clone(), keys, unknown_key, good })
    }

    /// The identity of whom `token` is for, if it is good.
    pub(super) fn bearer_of(&self, token: &str) -> Result<Arc<[String]>, Refusal> {
        let keys = self.keys.get();
        let mut hash = Hash::default();
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(good) = self.good.get(&hash).filter(|good| good.still_is(&keys)) {
            return Ok(Arc::clone(&good.bearer));
        }
        let good = self.verify(token, &keys)?;
        let bearer = Arc::clone(&good.bearer);
        self.good.insert(hash, Arc::new(good));
        Ok(bearer)
    }

    fn verify(&self, token: &str, all: &Arc<Option<Keys>>) -> Result<Good, Refusal> {
        let header = decode_header(token)
            .map_err(|_| Refusal::Unknown("the token is not known, and no JWT"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refusal::Unknown("the JWT's algorithm is not taken"));
        }
        let id = header.kid.ok_or(Refusal::Unknown("the JWT names no key"))?;
        let keys = all.as_ref().as_ref().ok_or(Refusal::Untold)?;
        let Some(key) = keys.0.get(&id) else {
            self.unknown_key.notify_one();
            return Err(Refusal::Unknown("the JWT's key is not known"));
        };
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let Claims { sub, exp } = decode(token, key, &validation)
            .map_err(|_| {
                Refusal::Unknown("the JWT is not valid, not for this service, or no longer good")
            })?
            .claims;
        // An end that no clock can show is looked at again in a while.
        let ends = Duration::try_from_secs_f64(exp)
            .ok()
            .and_then(|exp| UNIX_EPOCH.checked_add(exp))
            .unwrap_or(SystemTime::now() + REFRESH);
        Ok(Good { bearer: Arc::new([format!("jwt:{sub}")]), ends, keys: Arc::downgrade(all) })
    }
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

/// Keeps the keys behind a URL at hand. Those of before stay in force while it does not answer.
async fn fetch_for_ever(
    url: Url,
    keys: Reloaded<Option<Keys>>,
    unknown_key: Arc<Notify>,
    reloads: Reloads,
) {
    let client = http_client::builder(&url, None)
        .and_then(|builder| builder.timeout(FETCH).build().map_err(|error| error.to_string()));
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "the JWKS cannot be fetched"),
    };
    loop {
        let start = Instant::now();
        let fetched = fetch(&client, &url).await;
        let again = match fetched {
            Ok(new) => {
                keys.set(Some(new));
                reloads.succeeded();
                REFRESH
            }
            Err(error) if keys.get().is_none() => {
                reloads.failed();
                tracing::warn!(%error, "the JWKS is not fetched: calls with a JWT are refused");
                sleep_until(start + FIRST).await;
                continue;
            }
            Err(error) => {
                reloads.failed();
                tracing::warn!(%error, "the JWKS is not fetched: the keys of before stay in force");
                SOONEST
            }
        };
        let _ = timeout(again, unknown_key.notified()).await;
        sleep_until(start + SOONEST).await;
    }
}

async fn fetch(client: &reqwest::Client, url: &Url) -> Result<Keys, String> {
    let causes = |error: reqwest::Error| error.without_url().to_string();
    let mut answer = client.get(url.clone()).send().await.map_err(causes)?;
    if !answer.status().is_success() {
        return Err(format!("answered {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(causes)? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST {
            return Err("is too large".into());
        }
    }
    Keys::parse(&body)
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
