//! Whether something else ran on the machine meanwhile, which makes figures worthless.

use std::{fs, time::Duration};

use nix::sys::resource::{UsageWho, getrusage};

use crate::Fallible;

/// Tolerated share of the machine.
const TOLERATED: f64 = 0.03;

/// Time that processors were not idle, since some moment.
pub struct Busy {
    machine: Duration,
    idle: Duration,
    own: Duration,
}

impl Busy {
    pub fn start() -> Fallible<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks = stat.lines().next().ok_or("an empty /proc/stat")?;
        let ticks = ticks.split_ascii_whitespace().skip(1).take(8).map(str::parse::<u64>);
        let ticks = ticks.collect::<Result<Vec<_>, _>>()?;
        let idle = ticks[3] + ticks[4];
        let time = |ticks: u64| Duration::from_millis(10 * ticks);
        Ok(Self { machine: time(ticks.iter().sum::<u64>() - idle), idle: time(idle), own: own()? })
    }

    /// Prints what others used since the start. All servers must have ended.
    pub fn report(&self) -> Fallible<()> {
        let now = Self::start()?;
        let (machine, own) = (now.machine - self.machine, now.own - self.own);
        let all = (machine + now.idle - self.idle).as_secs_f64();
        let share = machine.saturating_sub(own).as_secs_f64() / all;
        println!("Other processes used {:.1} % of the machine meanwhile.", 100.0 * share);
        if share > TOLERATED {
            println!("That is too much: do not trust these figures.");
        }
        Ok(())
    }
}

/// The processor time of this process and its ended children.
fn own() -> Fallible<Duration> {
    let mut sum = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += Duration::from_secs(time.tv_sec().try_into()?);
            sum += Duration::from_micros(time.tv_usec().try_into()?);
        }
    }
    Ok(sum)
}
