//! What stands in Redis, and the scripts that change it. Each script is one atomic step.
//!
//! A value is the token of its claim, the time that its record is kept once the call has ended, and
//! the encrypted record. A released claim leaves its token alone, and that for one lease.
//!
//! `models/tests/claims.rs` runs these scripts, by the same names, in every order of events.

use std::time::Duration;

use redis::{Cmd, cmd};

use super::super::{key::RecordId, store::Token};

const TOKEN: usize = size_of::<Token>();
const HEADER: usize = TOKEN + size_of::<u64>();

/// Stores a pending value unless there is another, and otherwise returns that with the milliseconds
/// until it expires. A value that is there already is stored again, so that replicas acknowledge
/// it; but it replaces neither the outcome nor the release of its own claim.
///
/// It begins with a write, so that no replica answers from its own data, such as a demoted primary.
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

/// Replaces the pending value of a claim by the outcome, unless there is the value of another
/// claim. Returns what was there: [`OWN`], [`ANOTHERS`], or nothing, which a released claim counts
/// as.
const RECORD: &str = r"
local kept = redis.call('GET', KEYS[1])
local is_own = kept and string.sub(kept, 1, 16) == string.sub(ARGV[1], 1, 16)
if kept and not is_own and #kept > 16 then
  return 2
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return is_own and 0 or 1
";

/// `RECORD` found the value of its own claim.
pub(super) const OWN: u8 = 0;
/// `RECORD` found the value of another claim, and left it.
pub(super) const ANOTHERS: u8 = 2;

/// Reduces the value of a claim to its token, which blocks nothing but the claim itself, should
/// that arrive late. The value of another claim stays.
const RELEASE: &str = r"
local kept = redis.call('GET', KEYS[1])
if not kept or string.sub(kept, 1, 16) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return false
";

/// A write that changes nothing.
const PROBE: &str = "redis.call('SET', KEYS[1], '', 'XX', 'PX', 1)\nreturn false";

/// Claims a key, for `lease` while the call lasts and for `ttl` after it. The command returns
/// nothing if the claim is granted, and otherwise what [`Held::new`] takes.
pub(super) fn claim(
    id: RecordId,
    token: Token,
    pending: &[u8],
    lease: Duration,
    ttl: Duration,
) -> Cmd {
    set(CLAIM, id, &value(token, ttl, pending), lease + ttl)
}

/// Records an outcome for `ttl`. The command returns what it found.
pub(super) fn record(id: RecordId, token: Token, sealed: &[u8], ttl: Duration) -> Cmd {
    set(RECORD, id, &value(token, ttl, sealed), ttl)
}

/// Releases a claim.
pub(super) fn release(id: RecordId, token: Token, lease: Duration) -> Cmd {
    set(RELEASE, id, &token.0, lease)
}

/// Needs the rights and replicas that the other scripts need.
pub(super) fn probe() -> Cmd {
    eval(PROBE, "probe")
}

fn set(script: &str, id: RecordId, value: &[u8], ttl: Duration) -> Cmd {
    let mut command = eval(script, id);
    command.arg(value).arg(millis(ttl));
    command
}

/// Sends the whole script, because a server that was just promoted does not know its hash.
fn eval(script: &str, id: impl AsRef<[u8]>) -> Cmd {
    let hash = data_encoding::BASE64URL_NOPAD.encode(id.as_ref());
    let mut command = cmd("EVAL");
    command.arg(script).arg(1).arg(format!("totp-facade:idempotency:1:{hash}"));
    command
}

fn value(token: Token, ttl: Duration, sealed: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER + sealed.len());
    value.extend_from_slice(&token.0);
    value.extend_from_slice(&millis(ttl).to_be_bytes());
    value.extend_from_slice(sealed);
    value
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The value of another claim.
pub(super) struct Held {
    pub(super) sealed: Vec<u8>,
    /// How long the holder of a pending record has left to record or release it. `None` if the
    /// lease is over.
    pub(super) lease: Option<Duration>,
}

impl Held {
    /// Splits a value that expires in `left` milliseconds.
    pub(super) fn new(value: &[u8], left: i64) -> Self {
        let (header, sealed) = value.split_at(value.len().min(HEADER));
        let ttl = header.get(TOKEN..).and_then(|ttl| ttl.try_into().ok()).map(u64::from_be_bytes);
        // A pending value expires a lease later than one with an outcome.
        let lease = u64::try_from(left).unwrap_or(0).saturating_sub(ttl.unwrap_or(u64::MAX));
        Self { sealed: sealed.to_vec(), lease: (lease > 0).then(|| Duration::from_millis(lease)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_record_is_its_holders_until_it_has_only_the_time_of_an_ended_one_left() {
        let value = value(Token([7; TOKEN]), Duration::from_secs(600), b"sealed");
        for (left, expected, reason) in [
            (612_000, Some(12_000), "just claimed"),
            (600_001, Some(1), "the last millisecond"),
            (600_000, None, "the lease is over"),
            (1, None, "about to expire"),
            (-1, None, "without a time to live, which no replica of the service writes"),
            (-2, None, "expired in between"),
        ] {
            let Held { sealed, lease } = Held::new(&value, left);

            assert_eq!(sealed, b"sealed");
            assert_eq!(lease, expected.map(Duration::from_millis), "{reason}");
        }
    }

    #[test]
    fn a_value_that_no_replica_wrote_is_no_lease() {
        for value in [&b""[..], b"short", &[0; HEADER]] {
            let Held { sealed, lease } = Held::new(value, 1000);

            assert!(sealed.is_empty());
            assert!(lease.is_none_or(|lease| lease <= Duration::from_secs(1)));
        }
    }
}
