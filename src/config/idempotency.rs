//! Where calls with an idempotency key are recorded.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{
    kind::{AUTHORITIES, Kind, TIMEOUT},
    setting::{Setting, settings},
    unchecked::Reader,
};
use crate::idempotency::{self, RedisSettings, StoreSettings};

/// Room for several of the largest answers that are read from Stytch.
const MIN_BYTES: u64 = 4 * 1024 * 1024;

settings! { IDEMPOTENCY "Idempotency"
    /// URL of the Redis that records calls with an idempotency key for several replicas. The scheme
    /// is `redis`, `redis+sentinel` or `redis+cluster`, or the same with `rediss` for TLS
    /// (docs/retries.md).
    URL: SecretString = Setting::new("TOTP_FACADE_IDEMPOTENCY_URL", Kind::secret(redis_url))
        .derived("in the memory of this process");

    /// Number of Redis replicas that must have stored the claim of a key before its call is sent
    /// (docs/retries.md).
    MIN_REPLICAS: u8 =
        Setting::new("TOTP_FACADE_IDEMPOTENCY_MIN_REPLICAS", MIN_REPLICAS_KIND).default("0");

    /// PEM file of authorities to trust for Redis in addition to the system's. Read again when it
    /// changes, for new connections.
    CA_FILE: PathBuf = Setting::new("TOTP_FACADE_IDEMPOTENCY_CA_FILE", AUTHORITIES);

    /// Maximum size of the records in memory, in bytes; the least recently used are evicted. Not
    /// used with Redis.
    MAX_BYTES: u64 =
        Setting::new("TOTP_FACADE_IDEMPOTENCY_MAX_BYTES", MAX_BYTES_KIND).default("67108864");

    /// Time for which a call is recorded, from its end.
    TTL: Duration = Setting::new("TOTP_FACADE_IDEMPOTENCY_TTL", TIMEOUT).default("10m");
}

const MIN_REPLICAS_KIND: Kind<u8> = Kind::text("COUNT", |text| {
    text.parse().map_err(|_| format!("{text:?} is not a number from 0 to {}", u8::MAX))
})
.limits("0 to 255");

const MAX_BYTES_KIND: Kind<u64> = Kind::text("BYTES", |text| {
    let bytes = text.parse().ok().filter(|bytes| *bytes >= MIN_BYTES);
    bytes.ok_or_else(|| format!("{text:?} is not a number of at least {MIN_BYTES}"))
})
.limits("At least 4194304");

/// Reads where calls are recorded, and for how long.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<idempotency::Settings> {
    let ttl = reader.get(&TTL);
    let max_bytes = reader.get(&MAX_BYTES);
    let store = if reader.is_given(&URL) {
        reader.show(&MAX_BYTES, "(not used)");
        redis(reader).map(StoreSettings::Redis)
    } else {
        refuse_what_needs_redis(reader);
        max_bytes.map(|max_bytes| StoreSettings::Memory { max_bytes })
    };
    Some(idempotency::Settings { ttl: ttl?, store: store? })
}

fn redis(reader: &mut Reader<'_>) -> Option<RedisSettings> {
    let url = reader.get(&URL);
    let min_replicas = reader.get(&MIN_REPLICAS);
    let ca_file = reader.get(&CA_FILE);
    let (url, min_replicas) = (url?, min_replicas?);
    reader.show(&URL, idempotency::without_credentials(&url));
    if ca_file.is_some() && !idempotency::is_tls(&url) {
        return reader.problem(&CA_FILE, format!("needs a {URL} with rediss"));
    }
    Some(RedisSettings { url, min_replicas, ca_file })
}

/// Nobody shall rely on a setting that has no effect.
fn refuse_what_needs_redis(reader: &mut Reader<'_>) {
    let what = || format!("needs {URL}");
    if reader.get(&MIN_REPLICAS).is_some_and(|min_replicas| min_replicas > 0) {
        reader.report(&MIN_REPLICAS, what());
    }
    if reader.is_given(&CA_FILE) {
        reader.report(&CA_FILE, what());
    }
    reader.show(&URL, "(not set: in memory)");
    reader.show(&MIN_REPLICAS, "(not used)");
    reader.show(&CA_FILE, "(not used)");
}

/// Checks a URL. It may hold passwords, so no problem quotes it.
fn redis_url(text: &str) -> Result<SecretString, String> {
    let url = SecretString::from(text);
    idempotency::check_url(&url)?;
    Ok(url)
}
