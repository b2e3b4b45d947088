//! The buckets of all histograms.

use std::time::Duration;

/// The upper bounds of the buckets in microseconds, the same for all histograms. They include those
/// that OpenTelemetry advises for calls, and the defaults of Prometheus' clients.
pub(super) const BOUNDS: [u64; 16] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000,
    1_000_000, 2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// The number of buckets: one more, for what is above all bounds.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// What a histogram held when the page was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Snapshot {
    /// How many durations each bucket has, not counting those of the buckets before it.
    pub(super) buckets: [u64; BUCKETS],
    /// The sum of all durations, in nanoseconds.
    pub(super) nanos: u64,
}

/// Returns the bucket of a duration.
pub(super) fn bucket_of(duration: Duration) -> usize {
    // As `le`, a bound belongs to its bucket; what exceeds it by less than a microsecond does not.
    let micros = duration.as_nanos().div_ceil(1000);
    BOUNDS.partition_point(|bound| u128::from(*bound) < micros)
}

impl Snapshot {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds what another histogram held.
    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count += more;
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }
}
