//! The processor time of other processes.

use std::time::Duration;

use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::Fallible;

/// The clock of the processor time of a process: all its threads, in the kernel or not.
#[derive(Clone, Copy)]
pub struct CpuClock(ClockId);

impl CpuClock {
    pub fn of(process: u32) -> Fallible<Self> {
        Ok(Self(clock_getcpuclockid(Pid::from_raw(process.try_into()?))?))
    }

    pub fn now(self) -> Fallible<Duration> {
        Ok(clock_gettime(self.0)?.into())
    }
}
