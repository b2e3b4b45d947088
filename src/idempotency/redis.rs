//! Records in Redis: for several replicas, and for their restarts.
//!
//! Before a call is made its record is put as *pending*, under a lease that outlasts the call. A replica
//! that dies leaves it so, and when the lease is over that means *unknown*: the call may have been sent. So
//! nothing is ever sent twice while Redis keeps the record, whichever process dies when. A failover keeps what a
//! replica had, so a claim may have to be acknowledged by replicas, too (`replicas.rs`).
//!
//! A value is the holder's token, the time that the record is kept once it has ended, and the sealed record. Of a
//! claim that was given back only the token is left, and that not for long.
//!
//! `models/tests/claims.rs` has these steps by their names, and runs them in every order.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, cmd};
use tokio::time::timeout;

use super::{
    RedisSettings,
    address::Address,
    authorities::Authorities,
    key::Identity,
    link::{Link, Source, is_worth_another_try},
    replicas::Replicas,
};
use crate::{files::Reloaded, telemetry::metrics::Metrics};

/// How long after the upstream timeout a call has been recorded, if its replica lives.
const MARGIN: Duration = Duration::from_secs(2);

const TOKEN: usize = 16;
const HEADER: usize = TOKEN + size_of::<u64>();

/// Puts a pending value, unless another is there, which it returns with the milliseconds it has left. One that came
/// before is put again, for replicas to acknowledge; but never in the place of an end, or of its own release.
///
/// It begins with a write, so that no replica, such as a primary that was demoted, answers from what it has.
const CLAIM: &str = r"
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return false
end
local kept = redis.call('GET', KEYS[1])
local is_own = string.sub(kept, 1, 16) == string.sub(ARGV[1], 1, 16)
if kept ~= ARGV[1] and (is_own or #kept > 16) then
  return {kept, redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
";

/// Puts the end of a call in the place of its pending value, unless another holder's value is there. Returns what
/// was there: 0 the holder's, 1 nothing, 2 another's. What is left of another's released claim is as good as nothing.
const RECORD: &str = r"
local kept = redis.call('GET', KEYS[1])
local is_own = kept and string.sub(kept, 1, 16) == string.sub(ARGV[1], 1, 16)
if kept and not is_own and #kept > 16 then
  return 2
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return is_own and 0 or 1
";

// What was there.
const OWN: u8 = 0;
const ANOTHERS: u8 = 2;

/// Leaves of a value nothing but the holder's token, which is in nobody's way but that of the holder's own claim,
/// should that come late. Another holder's value stays.
const RELEASE: &str = r"
local kept = redis.call('GET', KEYS[1])
if not kept or string.sub(kept, 1, 16) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return false
";

/// A write that changes nothing.
const PROBE: &str = "redis.call('SET', KEYS[1], '', 'XX', 'PX', 1)\nreturn false";

/// The right to make a call and to say how it ended.
#[derive(Clone, Copy)]
pub(super) struct Token([u8; TOKEN]);

/// What came of asking for it.
pub(super) enum Claim {
    Granted(Token),
    /// There is a record. If it is a pending one, its holder has so long to say more.
    Kept {
        sealed: Vec<u8>,
        lease: Option<Duration>,
    },
}

/// The records, wherever Redis is. Clones share the connection.
#[derive(Clone)]
pub(super) struct Redis {
    link: Link,
    replicas: Option<Replicas>,
    ttl: Duration,
    lease: Duration,
    metrics: Metrics,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("ttl", &self.ttl).field("lease", &self.lease).finish()
    }
}

impl Redis {
    /// Keeps records for `ttl`. `longest_call` is the upstream timeout. Needs a runtime.
    pub(super) fn new(
        settings: &RedisSettings,
        ttl: Duration,
        longest_call: Duration,
        metrics: Metrics,
    ) -> RedisResult<Self> {
        let RedisSettings { url, min_replicas, ca_file } = settings;
        let address = Address::new(url).map_err(|what| (ErrorKind::InvalidClientConfig, what))?;
        let authorities = ca_file.clone().map(|path| {
            let paths = vec![path.clone()];
            Reloaded::from_files(&metrics, "redis_ca", paths, move || Authorities::read(&path))
        });
        let authorities = authorities.transpose().map_err(std::io::Error::other)?;
        let source = Source { address, authorities };
        let replicas = (*min_replicas > 0).then(|| Replicas::new(&source, *min_replicas));
        let lease = longest_call + MARGIN;
        Ok(Self { link: Link::new(source), replicas, ttl, lease, metrics })
    }

    /// Whether Redis can be reached, lets the scripts run, and has the replicas.
    pub(super) async fn probe(&self) -> RedisResult<()> {
        self.run_safely(&script(PROBE, "probe")).await
    }

    /// Asks for the right to make the call, which `pending` then stands for.
    pub(super) async fn claim(&self, identity: &Identity, pending: &[u8]) -> RedisResult<Claim> {
        let mut token = Token([0; TOKEN]);
        aws_lc_rs::rand::fill(&mut token.0).expect("the system has random bytes");
        let claim = self.put(CLAIM, identity, &self.value(token, pending), self.lease + self.ttl);
        // A connection that had died, or leads to what is no primary any more, is noticed by using it; the token
        // makes a second try harmless.
        let put = || self.run(&claim);
        let mut kept = put.retry(once()).when(is_worth_another_try).await;
        let mut may_be_granted = kept.is_err();
        if let (Ok(None), Some(replicas)) = (&kept, &self.replicas) {
            // Only what is granted waits: whoever finds a record is told at once.
            kept = replicas.run(&claim).await;
            may_be_granted = !matches!(kept, Ok(None));
        }
        if may_be_granted {
            // Perhaps by a server that is no primary any more. Nobody would use it.
            self.release_later(identity, token);
        }
        let kept: Option<(Vec<u8>, i64)> = kept?;
        Ok(match kept {
            None => Claim::Granted(token),
            Some((value, left)) => kept_by_another(&value, left),
        })
    }

    /// Says how the call ended. Waits for one try; if that fails, others follow, for as long as the record
    /// is of use. Replicas follow too.
    pub(super) async fn record(&self, identity: &Identity, token: Token, ended: &[u8]) {
        let record = self.put(RECORD, identity, &self.value(token, ended), self.ttl);
        match self.run(&record).await {
            Ok(was_there) => {
                self.check(was_there);
                if self.replicas.is_some() && was_there != ANOTHERS {
                    self.record_later(record);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "an idempotency record is not stored yet");
                self.record_later(record);
            }
        }
    }

    fn record_later(&self, record: Cmd) {
        let store = self.clone();
        tokio::spawn(async move {
            let put = || store.run_safely(&record);
            match timeout(store.ttl, put.retry(patiently())).await {
                Ok(Ok(was_there)) => store.check(was_there),
                _ => tracing::error!(
                    "an idempotency record could not be kept: it counts as unknown, or will after a failover"
                ),
            }
        });
    }

    /// Says it when Redis has not kept the claim of a call until its end.
    fn check(&self, was_there: u8) {
        let what = match was_there {
            OWN => return,
            ANOTHERS => "another replica has the key",
            _ => "it was forgotten",
        };
        self.metrics.idempotency_claims_lost.inc();
        tracing::error!(
            "Redis lost the claim of a call under way, which may be made twice: {what}"
        );
    }

    /// Gives the right back: nothing was sent. Waits for one try, as [`Redis::record`] does.
    pub(super) async fn release(&self, identity: &Identity, token: Token) {
        if self.remove(identity, token).await.is_err() {
            self.release_later(identity, token);
        }
    }

    fn release_later(&self, identity: &Identity, token: Token) {
        let (store, identity) = (self.clone(), *identity);
        tokio::spawn(async move {
            let remove = || store.remove(&identity, token);
            // Once the lease is over it has been called unknown, and stays so.
            let _ = timeout(store.lease, remove.retry(patiently())).await;
        });
    }

    async fn remove(&self, identity: &Identity, token: Token) -> RedisResult<()> {
        self.run(&self.put(RELEASE, identity, &token.0, self.lease)).await
    }

    fn put(&self, code: &str, identity: &Identity, value: &[u8], ttl: Duration) -> Cmd {
        let mut command = script(code, identity);
        command.arg(value).arg(millis(ttl));
        command
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        self.link.run(async |connection| command.query_async(connection).await).await
    }

    /// The same, and waits for the replicas, if they count.
    async fn run_safely<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match &self.replicas {
            None => self.run(command).await,
            Some(replicas) => replicas.run(command).await,
        }
    }

    fn value(&self, token: Token, sealed: &[u8]) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEADER + sealed.len());
        value.extend_from_slice(&token.0);
        value.extend_from_slice(&millis(self.ttl).to_be_bytes());
        value.extend_from_slice(sealed);
        value
    }
}

/// A script for the record of an identity. Sent whole, for a server that has just been promoted knows none by its
/// hash.
fn script(code: &str, identity: impl AsRef<[u8]>) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(code).arg(1).arg(name(identity));
    command
}

/// What a record of another holder's amounts to, `left` milliseconds before it is forgotten.
fn kept_by_another(value: &[u8], left: i64) -> Claim {
    let (header, sealed) = value.split_at(value.len().min(HEADER));
    let ttl = header.get(TOKEN..).and_then(|ttl| ttl.try_into().ok()).map(u64::from_be_bytes);
    // A pending record is kept for the lease and then for as long as one that has ended.
    let lease = u64::try_from(left).unwrap_or(0).saturating_sub(ttl.unwrap_or(u64::MAX));
    Claim::Kept {
        sealed: sealed.to_vec(),
        lease: (lease > 0).then(|| Duration::from_millis(lease)),
    }
}

fn name(identity: impl AsRef<[u8]>) -> String {
    let hash = data_encoding::BASE64URL_NOPAD.encode(identity.as_ref());
    format!("totp-facade:idempotency:1:{hash}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn once() -> ExponentialBuilder {
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(10)).with_max_times(1)
}

fn patiently() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_record_is_its_holders_until_it_has_only_the_time_of_an_ended_one_left() {
        let value = |ttl: u64| [&[7; TOKEN][..], &ttl.to_be_bytes(), b"sealed"].concat();
        for (left, expected, reason) in [
            (612_000, Some(12_000), "just claimed"),
            (600_001, Some(1), "the last millisecond"),
            (600_000, None, "the lease is over"),
            (1, None, "about to be forgotten"),
            (-1, None, "without a time to live, as no replica leaves it"),
            (-2, None, "gone in between"),
        ] {
            let Claim::Kept { sealed, lease } = kept_by_another(&value(600_000), left) else {
                panic!("it is another's");
            };

            assert_eq!(sealed, b"sealed");
            assert_eq!(lease, expected.map(Duration::from_millis), "{reason}");
        }
    }

    #[test]
    fn a_value_that_no_replica_wrote_is_no_lease() {
        for value in [&b""[..], b"short", &[0; HEADER]] {
            let Claim::Kept { sealed, lease } = kept_by_another(value, 1000) else {
                panic!("it is another's");
            };

            assert!(sealed.is_empty());
            assert!(lease.is_none_or(|lease| lease <= Duration::from_secs(1)));
        }
    }
}
