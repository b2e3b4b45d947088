//! What the process uses, as Linux reports it in `/proc`. Elsewhere the page goes without.

use std::marker::PhantomData;

use super::page::{Kind, Labels, Metric, Samples};

/// A number that is read from `/proc` when the page is written.
#[derive(Debug, Default)]
pub struct Read<R>(PhantomData<R>);

/// How to read a number.
pub trait Reading {
    /// Its type.
    const KIND: Kind;

    /// Reads it, or returns `None` where it cannot be read.
    fn read() -> Option<f64>;
}

impl<R: Reading> Metric for Read<R> {
    fn kind(&self) -> Kind {
        R::KIND
    }

    fn labels(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn write(&self, samples: &mut Samples<'_>) {
        if let Some(number) = R::read() {
            samples.add(&Labels::default(), number);
        }
    }
}

/// Declares numbers of the process: what they are, their type, and how to read them.
macro_rules! readings {
    ($($(#[doc = $text:literal])+ $name:ident: $kind:ident = $read:expr;)+) => {$(
        $(#[doc = $text])+
        #[derive(Debug, Default)]
        pub(super) struct $name;

        impl Reading for $name {
            const KIND: Kind = Kind::$kind;

            fn read() -> Option<f64> {
                $read
            }
        }
    )+};
}

pub(super) use readings;

readings! {
    /// The CPU time that the process has used.
    CpuSeconds: Counter = proc::cpu_seconds();
    /// The memory that is resident.
    ResidentBytes: Gauge = proc::resident_bytes();
    /// The memory that is mapped.
    VirtualBytes: Gauge = proc::virtual_bytes();
    /// The descriptors that are open.
    OpenDescriptors: Gauge = proc::open_descriptors();
    /// The descriptors that may be open.
    MaxDescriptors: Gauge = proc::max_descriptors();
    /// When the process started.
    StartTime: Gauge = proc::start_time();
    /// The threads.
    Threads: Gauge = proc::threads();
}

#[cfg(target_os = "linux")]
mod proc {
    //! The files of `/proc`, as proc(5) describes them.

    use std::{fs, sync::LazyLock};

    use rustix::{
        param::{clock_ticks_per_second, page_size},
        process::{Resource, getrlimit},
    };

    /// Returns the field of `/proc/self/stat` with this number in proc(5).
    fn stat(number: usize) -> Option<f64> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field, the name of the program, may contain anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.split(' ').nth(number - 3)?.parse().ok()
    }

    #[expect(clippy::cast_precision_loss, reason = "a hundred a second, or some thousand bytes")]
    fn exactly(number: u64) -> f64 {
        number as f64
    }

    fn ticks_per_second() -> f64 {
        exactly(clock_ticks_per_second())
    }

    pub(super) fn cpu_seconds() -> Option<f64> {
        Some((stat(14)? + stat(15)?) / ticks_per_second())
    }

    pub(super) fn resident_bytes() -> Option<f64> {
        Some(stat(24)? * exactly(u64::try_from(page_size()).ok()?))
    }

    pub(super) fn virtual_bytes() -> Option<f64> {
        stat(23)
    }

    pub(super) fn threads() -> Option<f64> {
        stat(20)
    }

    pub(super) fn open_descriptors() -> Option<f64> {
        // One of them reads the directory.
        let open = fs::read_dir("/proc/self/fd").ok()?.count().checked_sub(1)?;
        Some(exactly(u64::try_from(open).ok()?))
    }

    pub(super) fn max_descriptors() -> Option<f64> {
        getrlimit(Resource::Nofile).current.map(exactly)
    }

    pub(super) fn start_time() -> Option<f64> {
        // Read once, so that the start does not move when the clock of the system is set.
        static BOOT: LazyLock<Option<f64>> = LazyLock::new(|| {
            let stat = fs::read_to_string("/proc/stat").ok()?;
            stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
        });
        Some((*BOOT)? + stat(22)? / ticks_per_second())
    }
}

#[cfg(not(target_os = "linux"))]
mod proc {
    //! There is no `/proc`.

    macro_rules! nothing {
        ($($name:ident)+) => {$(
            pub(super) fn $name() -> Option<f64> {
                None
            }
        )+};
    }

    nothing! {
        cpu_seconds resident_bytes virtual_bytes open_descriptors max_descriptors start_time threads
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        time::{Instant, SystemTime, UNIX_EPOCH},
    };

    use super::*;

    #[test]
    fn the_numbers_are_those_of_this_process() {
        let (before, start) = (CpuSeconds::read().unwrap(), Instant::now());
        while CpuSeconds::read().unwrap() < before + 0.02 {
            assert!(start.elapsed().as_secs() < 20);
        }
        let megabyte = 1024.0 * 1024.0;
        let (resident, mapped) = (ResidentBytes::read().unwrap(), VirtualBytes::read().unwrap());
        assert!(megabyte < resident && resident < mapped, "{resident} of {mapped}");
        let open = OpenDescriptors::read().unwrap();
        let files: Vec<_> = (0..50).map(|_| File::open("/proc/self/stat").unwrap()).collect();
        assert!(OpenDescriptors::read().unwrap() >= open + 40.0, "{open} and {}", files.len());
        assert!(MaxDescriptors::read().is_none_or(|max| max > open));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - StartTime::read().unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(Threads::read().unwrap() >= 1.0);
    }
}
