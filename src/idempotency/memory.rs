//! Records in this process: for a façade with one replica. They end with the process.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::ready};
use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache};

use super::{
    key::{Fingerprint, RecordId},
    record::{self, Outcome},
    seal::Sealer,
    store::{Claim, Store, StoreError, StoreFuture, Token},
};
use crate::telemetry::metrics::Metrics;

/// The smallest weight of a record in bytes, so that the limit on bytes also limits the number of
/// records.
const MIN_WEIGHT: usize = 1024;
/// What a record takes in addition to its bytes.
const OVERHEAD: usize = 256;

/// The records of calls that have ended. A claim needs no record: while a call lasts, its flight
/// holds the key.
#[derive(Debug)]
pub(super) struct Memory {
    records: Cache<RecordId, Bytes>,
    /// Its key ends with the process, as the records do.
    sealer: Sealer,
}

impl Memory {
    /// Keeps records for `ttl`, and at most `max_bytes` of them: the least recently used are
    /// evicted.
    pub(super) fn new(ttl: Duration, max_bytes: u64, metrics: &Metrics) -> Self {
        let weigh = |_: &RecordId, record: &Bytes| {
            u32::try_from((record.len() + OVERHEAD).max(MIN_WEIGHT)).unwrap_or(u32::MAX)
        };
        let evictions = metrics.idempotency_evictions.clone();
        let evicted = move |_: Arc<RecordId>, _: Bytes, cause: RemovalCause| {
            if cause == RemovalCause::Size && evictions.inc() == 0 {
                tracing::warn!(
                    max_bytes,
                    "idempotency records are evicted before their TTL ends: \
                     TOTP_FACADE_IDEMPOTENCY_MAX_BYTES is used up"
                );
            }
        };
        let records = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weigh)
            // The default policy may refuse a new record in favour of old ones.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(ttl)
            .eviction_listener(evicted)
            .build();
        Self { records, sealer: Sealer::random() }
    }
}

impl Store for Memory {
    fn claim(
        &self,
        id: RecordId,
        fingerprint: Fingerprint,
    ) -> StoreFuture<'_, Result<Claim, StoreError>> {
        let claim = match self.records.get(&id) {
            None => Claim::Granted(Token::default()),
            Some(sealed) => Claim::Found(record::open(&sealed, &self.sealer, id, fingerprint)),
        };
        ready(Ok(claim)).left_future()
    }

    fn record(
        &self,
        id: RecordId,
        fingerprint: Fingerprint,
        _: Token,
        outcome: &Outcome,
    ) -> StoreFuture<'_, ()> {
        let sealed = record::seal_outcome(outcome, &self.sealer, id, fingerprint);
        self.records.insert(id, sealed.into());
        ready(()).left_future()
    }

    fn release(&self, _: RecordId, _: Token) -> StoreFuture<'_, ()> {
        ready(()).left_future()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_bytes_and_in_records_and_the_newest_stay() {
        for (size, fit) in [(0, 100), (10 * 1024 - OVERHEAD, 10)] {
            let metrics = Metrics::default();
            let memory = Memory::new(Duration::from_secs(600), 100 * 1024, &metrics);
            let id = |number: u32| RecordId::of_test(&number.to_string());

            for number in 0..1000 {
                memory.records.insert(id(number), vec![0; size].into());
                memory.records.run_pending_tasks();
            }

            assert_eq!(memory.records.entry_count(), fit, "of {size} bytes each");
            assert!(memory.records.contains_key(&id(999)) && !memory.records.contains_key(&id(0)));
            assert_eq!(metrics.idempotency_evictions.get(), 1000 - fit);
        }
    }
}
