//! How long things take, without a lock: a count for each bucket, and a sum.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{
    buckets::{BUCKETS, Snapshot, bucket_of},
    page::{Kind, Labels, Samples},
    value::Value,
};

/// Durations in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

impl Histogram {
    /// Records a duration.
    pub fn record(&self, duration: Duration) {
        self.record_in(bucket_of(duration), duration);
    }

    /// Records a duration whose bucket is known.
    pub(super) fn record_in(&self, bucket: usize, duration: Duration) {
        self.buckets[bucket].fetch_add(1, Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// Returns how many durations have been recorded.
    pub fn count(&self) -> u64 {
        self.snapshot().count()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: array::from_fn(|bucket| self.buckets[bucket].load(Relaxed)),
            nanos: self.nanos.load(Relaxed),
        }
    }
}

impl Value for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn is_untouched(&self) -> bool {
        self.count() == 0
    }

    fn write(&self, labels: &Labels, samples: &mut Samples<'_>) {
        samples.add_histogram(labels, &self.snapshot(), |_| None);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::buckets::BOUNDS, *};

    #[test]
    fn a_bound_belongs_to_its_bucket_and_the_next_nanosecond_does_not() {
        for (bucket, bound) in BOUNDS.into_iter().enumerate() {
            let bound = Duration::from_micros(bound);

            assert_eq!(bucket_of(bound), bucket);
            assert_eq!(bucket_of(bound + Duration::from_nanos(1)), bucket + 1);
        }
        assert_eq!((bucket_of(Duration::ZERO), bucket_of(Duration::MAX)), (0, BOUNDS.len()));
    }
}
