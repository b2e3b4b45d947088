//! What a process holds: memory, descriptors, threads.

use std::fs;

use crate::Fallible;

#[derive(Clone, Copy)]
pub struct Held {
    /// Resident memory, in MiB.
    pub memory: f64,
    pub descriptors: usize,
    pub threads: usize,
}

pub fn held(process: u32) -> Fallible<Held> {
    Ok(Held {
        memory: resident(process)? as f64 / f64::from(1 << 20),
        descriptors: fs::read_dir(format!("/proc/{process}/fd"))?.count(),
        threads: fs::read_dir(format!("/proc/{process}/task"))?.count(),
    })
}

/// Resident memory, in bytes.
pub fn resident(process: u32) -> Fallible<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
