//! The values of metrics. Updating one is one or two atomic operations, without a lock.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use super::page::{Kind, Labels, Metric, Samples};

/// A value with a sample of its own on the page, or several samples that belong together.
pub trait Value: Default + Send + Sync {
    /// The type that the page shows.
    const KIND: Kind;

    /// Whether the value has never been recorded.
    fn is_untouched(&self) -> bool;

    /// Adds its samples to the page.
    fn write(&self, labels: &Labels, samples: &mut Samples<'_>);
}

impl<V: Value> Metric for V {
    fn kind(&self) -> Kind {
        V::KIND
    }

    fn labels(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn write(&self, samples: &mut Samples<'_>) {
        Value::write(self, &Labels::default(), samples);
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds 1, and returns the number before that.
    pub fn inc(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }

    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Value for Counter {
    const KIND: Kind = Kind::Counter;

    fn is_untouched(&self) -> bool {
        self.get() == 0
    }

    fn write(&self, labels: &Labels, samples: &mut Samples<'_>) {
        samples.add(labels, self.get());
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, number: i64) {
        self.0.store(number, Relaxed);
    }

    /// Sets the number to a time, in whole seconds since 1970.
    pub fn set_time(&self, time: SystemTime) {
        self.set(seconds_since_1970(time));
    }

    /// Adds 1.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Takes 1 off.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Returns the number.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

impl Value for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn is_untouched(&self) -> bool {
        self.get() == 0
    }

    fn write(&self, labels: &Labels, samples: &mut Samples<'_>) {
        samples.add(labels, self.get());
    }
}

/// A gauge that is on the page only once it has been set.
#[derive(Debug)]
pub struct OptionalGauge(Gauge);

impl OptionalGauge {
    const UNSET: i64 = i64::MIN;

    /// Sets the number to a time, in whole seconds since 1970.
    pub fn set_time(&self, time: SystemTime) {
        self.0.set_time(time);
    }

    /// Takes the gauge off the page.
    pub fn unset(&self) {
        self.0.set(Self::UNSET);
    }
}

impl Default for OptionalGauge {
    fn default() -> Self {
        Self(Gauge(AtomicI64::new(Self::UNSET)))
    }
}

impl Value for OptionalGauge {
    const KIND: Kind = Kind::Gauge;

    fn is_untouched(&self) -> bool {
        self.0.get() == Self::UNSET
    }

    fn write(&self, labels: &Labels, samples: &mut Samples<'_>) {
        if !self.is_untouched() {
            Value::write(&self.0, labels, samples);
        }
    }
}

/// A gauge whose value something else keeps, which is read when the page is written.
#[derive(Debug, Default)]
pub struct Watched(Source);

/// A counter whose value something else keeps, which is read when the page is written.
#[derive(Debug, Default)]
pub struct WatchedCounter(Source);

/// Reads a value, or returns `None` if it is gone.
type Read = Box<dyn Fn() -> Option<f64> + Send + Sync>;

#[derive(Default)]
struct Source(Mutex<Option<Read>>);

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

impl Source {
    fn watch<T: Send + Sync + 'static>(
        &self,
        owner: &Arc<T>,
        read: impl Fn(&T) -> f64 + Send + Sync + 'static,
    ) {
        // Weak, because owners hold the metrics.
        let owner = Arc::downgrade(owner);
        let read: Read = Box::new(move || owner.upgrade().map(|owner| read(&owner)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    fn read(&self) -> Option<f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|read| read())
    }

    fn write(&self, labels: &Labels, samples: &mut Samples<'_>) {
        if let Some(number) = self.read() {
            samples.add(labels, number);
        }
    }
}

macro_rules! watched {
    ($name:ident, $kind:expr) => {
        impl $name {
            /// Takes the value from `owner` from now on. It leaves the page when `owner` is
            /// dropped.
            pub fn watch<T: Send + Sync + 'static>(
                &self,
                owner: &Arc<T>,
                read: impl Fn(&T) -> f64 + Send + Sync + 'static,
            ) {
                self.0.watch(owner, read);
            }
        }

        impl Value for $name {
            const KIND: Kind = $kind;

            fn is_untouched(&self) -> bool {
                self.0.read().is_none()
            }

            fn write(&self, labels: &Labels, samples: &mut Samples<'_>) {
                self.0.write(labels, samples);
            }
        }
    };
}

watched!(Watched, Kind::Gauge);
watched!(WatchedCounter, Kind::Counter);

fn seconds_since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
