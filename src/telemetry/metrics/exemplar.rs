//! The last traced call of each bucket, kept without a lock that anybody waits for.

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
        fence,
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{buckets::BUCKETS, page::Exemplar};

/// The ids of a trace and a span in it.
pub type TraceIds = ([u8; 16], [u8; 8]);

/// An exemplar for each bucket.
#[derive(Debug, Default)]
pub(super) struct Exemplars([Slot; BUCKETS]);

/// An exemplar, or nothing while `version` is 0. A writer makes the version odd while it writes, so
/// a reader that sees the same even version before and after has read one exemplar.
#[derive(Debug, Default)]
struct Slot {
    version: AtomicU64,
    words: [AtomicU64; 5],
}

impl Exemplars {
    /// Makes a call the exemplar of its bucket, unless another call is becoming it right now.
    pub(super) fn record(&self, bucket: usize, trace: TraceIds, duration: Duration) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (trace_id, span_id) = trace;
        self.0[bucket].write(&Exemplar { trace_id, span_id, duration, at });
    }

    /// Returns the exemplar of a bucket.
    pub(super) fn get(&self, bucket: usize) -> Option<Exemplar> {
        self.0[bucket].read()
    }
}

impl Slot {
    fn write(&self, exemplar: &Exemplar) {
        let version = self.version.load(Relaxed);
        let is_ours = version.is_multiple_of(2)
            && self.version.compare_exchange(version, version + 1, AcqRel, Relaxed).is_ok();
        if !is_ours {
            return;
        }
        // Keeps the words behind the odd version, which a reader then cannot miss.
        fence(Release);
        for (word, value) in self.words.iter().zip(to_words(exemplar)) {
            word.store(value, Relaxed);
        }
        self.version.store(version + 2, Release);
    }

    fn read(&self) -> Option<Exemplar> {
        let version = self.version.load(Acquire);
        let words = self.words.each_ref().map(|word| word.load(Relaxed));
        fence(Acquire);
        let is_whole =
            version != 0 && version.is_multiple_of(2) && self.version.load(Relaxed) == version;
        is_whole.then(|| from_words(words))
    }
}

fn to_words(exemplar: &Exemplar) -> [u64; 5] {
    let trace_id = u128::from_be_bytes(exemplar.trace_id);
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    [
        high(trace_id),
        low(trace_id),
        u64::from_be_bytes(exemplar.span_id),
        nanos(exemplar.duration),
        nanos(exemplar.at),
    ]
}

fn from_words([high, low, span_id, duration, at]: [u64; 5]) -> Exemplar {
    Exemplar {
        trace_id: (u128::from(high) << 64 | u128::from(low)).to_be_bytes(),
        span_id: span_id.to_be_bytes(),
        duration: Duration::from_nanos(duration),
        at: Duration::from_nanos(at),
    }
}

fn high(number: u128) -> u64 {
    u64::try_from(number >> 64).unwrap_or_default()
}

fn low(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn exemplar(number: u8) -> Exemplar {
        let time = Duration::from_nanos(u64::from_be_bytes([number; 8]));
        Exemplar { trace_id: [number; 16], span_id: [number; 8], duration: time, at: time }
    }

    #[test]
    fn an_exemplar_is_read_whole_while_others_are_written() {
        let slot = Slot::default();
        assert_eq!(slot.read(), None);

        thread::scope(|scope| {
            for writer in 1..=3 {
                let slot = &slot;
                scope.spawn(move || {
                    for _ in 0..20_000 {
                        slot.write(&exemplar(writer));
                    }
                });
            }
            for _ in 0..20_000 {
                if let Some(read) = slot.read() {
                    assert_eq!(read, exemplar(read.span_id[0]));
                }
            }
        });

        assert!(slot.read().is_some());
    }
}
