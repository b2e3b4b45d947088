//! Records in Redis: for several replicas, and for their restarts.
//!
//! Before a call is made its record is put as *pending*, under a lease that outlasts the call. A replica
//! that dies leaves it so, and when the lease is over that means *unknown*: the call may have been sent. So
//! nothing is ever sent twice while Redis keeps the record, whichever process dies when.
//!
//! A value is the holder's token, the time that the record is kept once it has ended, and the sealed record.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, cmd};
use secrecy::SecretString;
use tokio::time::timeout;

use super::{
    address::Address,
    key::Identity,
    link::{Link, is_worth_another_try},
};
use crate::metrics::Metrics;

/// How long after the upstream timeout a call has been recorded, if its replica lives.
const MARGIN: Duration = Duration::from_secs(2);

const TOKEN: usize = 16;
const HEADER: usize = TOKEN + size_of::<u64>();

/// Puts a pending value, unless another is there, which it returns with the milliseconds it has left. One that
/// had come before and is put again is put again: it never takes the place of an end.
///
/// It begins with a write, so that no replica, such as a primary that was demoted, answers from what it has.
const CLAIM: &str = r"
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return false
end
local kept = redis.call('GET', KEYS[1])
if kept ~= ARGV[1] then
  return {kept, redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
";

/// Puts the end of a call in the place of its pending value, unless another holder's value is there. Returns what
/// was there: 0 the holder's, 1 nothing, 2 another's.
const RECORD: &str = r"
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 1, 16) ~= string.sub(ARGV[1], 1, 16) then
  return 2
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return kept and 0 or 1
";

/// Removes a value, unless it is another holder's.
const RELEASE: &str = r"
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, 1, 16) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return false
";

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
    /// Keeps records for `ttl`. `longest_call` is the upstream timeout.
    pub(super) fn new(
        url: &SecretString,
        ttl: Duration,
        longest_call: Duration,
        metrics: Metrics,
    ) -> RedisResult<Self> {
        let address = Address::new(url).map_err(|what| (ErrorKind::InvalidClientConfig, what))?;
        let link = Link::new(address);
        Ok(Self { link, ttl, lease: longest_call + MARGIN, metrics })
    }

    /// Whether Redis can be reached and lets the scripts run.
    pub(super) async fn probe(&self) -> RedisResult<()> {
        self.link
            .run(async |connection| script(RELEASE, "probe").arg("").query_async(connection).await)
            .await
    }

    /// Asks for the right to make the call, which `pending` then stands for.
    pub(super) async fn claim(&self, identity: &Identity, pending: &[u8]) -> RedisResult<Claim> {
        let mut token = Token([0; TOKEN]);
        aws_lc_rs::rand::fill(&mut token.0).expect("the system has random bytes");
        let value = self.value(token, pending);
        let claim = || self.put(CLAIM, identity, &value, self.lease + self.ttl);
        // A connection that had died, or leads to what is no primary any more, is noticed by using it; the token
        // makes a second try harmless.
        let kept: RedisResult<Option<(Vec<u8>, i64)>> =
            claim.retry(once()).when(is_worth_another_try).await;
        match kept {
            Ok(None) => Ok(Claim::Granted(token)),
            Ok(Some((value, left))) => Ok(kept_by_another(&value, left)),
            Err(error) => {
                // It may have been granted all the same, and then nobody would use it.
                self.release_later(identity, token);
                Err(error)
            }
        }
    }

    /// Says how the call ended. Waits for one try; if that fails, others follow, for as long as the record
    /// is of use.
    pub(super) async fn record(&self, identity: &Identity, token: Token, ended: &[u8]) {
        let value = self.value(token, ended);
        match self.put(RECORD, identity, &value, self.ttl).await {
            Ok(was_there) => self.check(was_there),
            Err(error) => {
                tracing::warn!(%error, "an idempotency record is not stored yet");
                self.record_later(*identity, value);
            }
        }
    }

    fn record_later(&self, identity: Identity, value: Vec<u8>) {
        let store = self.clone();
        tokio::spawn(async move {
            let put = || store.put(RECORD, &identity, &value, store.ttl);
            match timeout(store.ttl, put.retry(patiently())).await {
                Ok(Ok(was_there)) => store.check(was_there),
                _ => tracing::error!("an idempotency record is lost: it counts as unknown"),
            }
        });
    }

    /// Says it when Redis has not kept the claim of a call until its end.
    fn check(&self, was_there: u8) {
        let what = match was_there {
            0 => return,
            1 => "it was forgotten",
            _ => "another replica has the key",
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
        let mut command = script(RELEASE, identity);
        command.arg(&token.0);
        self.link.run(async |connection| command.query_async(connection).await).await
    }

    async fn put<T: FromRedisValue>(
        &self,
        code: &str,
        identity: &Identity,
        value: &[u8],
        ttl: Duration,
    ) -> RedisResult<T> {
        let mut command = script(code, identity);
        command.arg(value).arg(millis(ttl));
        self.link.run(async |connection| command.query_async(connection).await).await
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
