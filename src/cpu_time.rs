//! How much a test's work computes, however busy the machine is.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns what `work` does and the CPU time that it takes on this thread.
pub(crate) fn cpu_time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("after zero");
    let start = now();
    let done = work();
    (done, now() - start)
}
