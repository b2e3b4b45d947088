//! What a process holds and uses: memory, descriptors, threads.

use std::{fs, time::Duration};

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

/// The processor time of each worker thread of a façade. With one CPU, the main thread is the worker.
pub fn worker_times(process: u32) -> Fallible<Vec<Duration>> {
    let mut times = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        let name = fs::read_to_string(task.path().join("comm"))?;
        if name.starts_with("worker-") || *task.file_name() == *process.to_string() {
            let times_of_task = fs::read_to_string(task.path().join("schedstat"))?;
            let on_cpu = times_of_task.split(' ').next().ok_or("an empty schedstat")?;
            times.push(Duration::from_nanos(on_cpu.parse()?));
        }
    }
    Ok(times)
}
