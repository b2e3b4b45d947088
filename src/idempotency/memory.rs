//! Records in this process: for one replica, and gone with it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache};

use super::key::Identity;
use crate::telemetry::metrics::Metrics;

/// What a record weighs at least, so that a bound on bytes is one on records too.
const LEAST: usize = 1024;
/// What a record takes beside its bytes.
const OVERHEAD: usize = 256;

/// The records that have ended. Those of calls under way are the flights of the process.
#[derive(Debug)]
pub(super) struct Memory(Cache<Identity, Bytes>);

impl Memory {
    /// Keeps records for `ttl`, and at most `max_bytes` of them: the least recently used goes first.
    pub(super) fn new(ttl: Duration, max_bytes: u64, metrics: Metrics) -> Self {
        let weigh = |_: &Identity, record: &Bytes| {
            u32::try_from((record.len() + OVERHEAD).max(LEAST)).unwrap_or(u32::MAX)
        };
        let evicted = move |_: Arc<Identity>, _: Bytes, cause: RemovalCause| {
            if cause == RemovalCause::Size && metrics.idempotency_evictions.inc() == 0 {
                tracing::warn!(
                    max_bytes,
                    "idempotency records are forgotten before their time: \
                     TOTP_FACADE_IDEMPOTENCY_MAX_BYTES is full"
                );
            }
        };
        let records = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weigh)
            // The default policy may turn a new record away, and each is wanted.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(ttl)
            .eviction_listener(evicted)
            .build();
        Self(records)
    }

    pub(super) fn get(&self, identity: &Identity) -> Option<Bytes> {
        self.0.get(identity)
    }

    pub(super) fn put(&self, identity: Identity, record: Vec<u8>) {
        self.0.insert(identity, record.into());
    }
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataMap;

    use super::{super::key::Key, *};

    fn identity(number: usize) -> Identity {
        let mut metadata = MetadataMap::new();
        metadata.insert("idempotency-key", number.to_string().parse().unwrap());
        Identity::new("project", "caller", "method", &Key::of(&metadata).unwrap().unwrap())
    }

    #[test]
    fn it_is_bounded_in_bytes_and_in_records_and_the_newest_stay() {
        for (size, fit) in [(0, 100), (10 * 1024 - OVERHEAD, 10)] {
            let metrics = Metrics::default();
            let memory = Memory::new(Duration::from_secs(600), 100 * 1024, metrics.clone());

            for number in 0..1000 {
                memory.put(identity(number), vec![0; size]);
                memory.0.run_pending_tasks();
            }

            assert_eq!(memory.0.entry_count(), fit, "of {size} bytes each");
            assert!(memory.get(&identity(999)).is_some() && memory.get(&identity(0)).is_none());
            assert_eq!(metrics.idempotency_evictions.get(), 1000 - fit);
        }
    }
}
