//! Records in this process: for a façade with one replica. They end with the process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::ready};
use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache};

use super::{
    key::{Fingerprint, RecordId},
    record::{self, Ended},
    seal::Sealer,
    store::{Claim, Store, StoreError, StoreFuture, Token},
};
use crate::{
    call::Call,
    telemetry::metrics::{Metrics, StoreErrorType, StoreKind, StoreOperation},
};

/// The smallest weight of a record in bytes, so that the limit on bytes also limits the number of
/// records.
const MIN_WEIGHT: usize = 1024;
/// What a record takes in addition to its bytes.
const OVERHEAD: usize = 256;

/// The records of calls that have ended. A claim needs no record: while a call lasts, its flight
/// holds the key.
#[derive(Debug)]
pub(super) struct Memory {
    records: Arc<Cache<RecordId, Bytes>>,
    /// Its key ends with the process, as the records do.
    sealer: Sealer,
    metrics: Metrics,
}

impl Memory {
    /// Keeps records for `ttl`, and at most `max_bytes` of them: the least recently used are
    /// evicted.
    pub(super) fn new(ttl: Duration, max_bytes: u64, metrics: &Metrics) -> Self {
        let weigh = |_: &RecordId, record: &Bytes| {
            u32::try_from((record.len() + OVERHEAD).max(MIN_WEIGHT)).unwrap_or(u32::MAX)
        };
        let counts = metrics.clone();
        let evicted = move |_: Arc<RecordId>, _: Bytes, cause: RemovalCause| {
            if cause == RemovalCause::Size && counts.idempotency_evictions.inc() == 0 {
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
        let records = Arc::new(records);
        // What has expired is still counted until moka gets round to it.
        metrics.idempotency_records.watch(&records, |it| {
            it.run_pending_tasks();
            it.entry_count() as f64
        });
        metrics.idempotency_record_bytes.watch(&records, |it| it.weighted_size() as f64);
        Self { records, sealer: Sealer::random(), metrics: metrics.clone() }
    }

    /// Records how long an operation took that began at `start`.
    fn took(&self, operation: StoreOperation, start: Instant) {
        let labels = (StoreKind::Memory, operation, StoreErrorType::None);
        self.metrics.idempotency_store.get(labels).record(start.elapsed());
    }
}

impl Store for Memory {
    fn kind(&self) -> StoreKind {
        StoreKind::Memory
    }

    fn claim(
        &self,
        id: RecordId,
        fingerprint: Fingerprint,
    ) -> StoreFuture<'_, Result<Claim, StoreError>> {
        let start = Instant::now();
        let claim = match self.records.get(&id) {
            None => Claim::Granted(Token::default()),
            Some(sealed) => Claim::Found(record::open(&sealed, &self.sealer, id, fingerprint)),
        };
        self.took(StoreOperation::Claim, start);
        ready(Ok(claim)).left_future()
    }

    fn record(
        &self,
        id: RecordId,
        fingerprint: Fingerprint,
        _: Token,
        ended: &Ended,
        _: &Call,
    ) -> StoreFuture<'_, ()> {
        let start = Instant::now();
        let sealed = record::seal_ended(ended, &self.sealer, id, fingerprint);
        self.records.insert(id, sealed.into());
        self.took(StoreOperation::Record, start);
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
