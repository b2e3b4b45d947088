//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on its thread, with all of its calls and the connections to Stytch that they
//! use. So nothing that happens in a call wakes another thread, which is what a runtime of several
//! threads spends its time on while calls are short.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::telemetry::metrics::Metrics;

/// The threads that serve the connections of a port. When this is dropped, they end with every task
/// that is left on them, and the drop waits for that: what a task does when it is dropped, such as
/// to record that its outcome is unknown, must happen before the process ends.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Vec<Worker>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

/// A thread that serves connections.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) runtime: Handle,
    /// One reference for each connection that the worker serves, and one for itself.
    connections: Arc<()>,
}

/// A connection that counts for its worker until dropped.
#[derive(Debug)]
pub(super) struct Served(#[expect(dead_code, reason = "counted by its references")] Arc<()>);

impl Workers {
    /// Serves connections on the runtime that this is called on.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub(crate) fn here() -> Self {
        let workers = vec![Worker::new(Handle::current())];
        Self { workers, threads: Vec::new(), stop: CancellationToken::new() }
    }

    /// Starts this many threads. For one, it starts none, because the thread that this is called on
    /// would have nothing to do.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        if threads <= 1 {
            return Ok(Self::here());
        }
        let stop = CancellationToken::new();
        // Dropped on failure, which ends the threads that have started.
        let mut this = Self { workers: Vec::new(), threads: Vec::new(), stop };
        for number in 0..threads {
            let (started, has_started) = mpsc::channel();
            let stopped = this.stop.clone();
            let serve = move || serve(&started, &stopped);
            let name = format!("worker-{number}");
            this.threads.push(thread::Builder::new().name(name).spawn(serve)?);
            let runtime = has_started.recv().map_err(io::Error::other)??;
            this.workers.push(Worker::new(runtime));
        }
        Ok(this)
    }

    /// Shows on the page of metrics how busy each worker is.
    pub(crate) fn report(self: &Arc<Self>, metrics: &Metrics) {
        for worker in 0..self.workers.len() {
            let number = worker.to_string();
            let runtime = move |workers: &Self| workers.workers[worker].runtime.metrics();
            let busy = metrics.worker_busy.register(&number);
            // Each runtime has one thread.
            busy.watch(self, move |it| runtime(it).worker_total_busy_duration(0).as_secs_f64());
            let queue = metrics.worker_queue.register(&number);
            queue.watch(self, move |it| count(runtime(it).global_queue_depth()));
        }
    }

    /// Returns the runtime of each worker.
    pub(crate) fn runtimes(&self) -> Vec<Handle> {
        self.workers.iter().map(|worker| worker.runtime.clone()).collect()
    }

    /// Returns the worker with the fewest connections.
    pub(super) fn least_loaded(&self) -> &Worker {
        let workers = self.workers.iter();
        workers.min_by_key(|it| Arc::strong_count(&it.connections)).expect("at least one")
    }
}

/// Returns a number of tasks as the page shows it.
fn count(tasks: usize) -> f64 {
    f64::from(u32::try_from(tasks).unwrap_or(u32::MAX))
}

/// Runs the runtime of a worker until `stopped`. Passes its handle, or why there is none, to
/// `started`.
fn serve(started: &mpsc::Sender<io::Result<Handle>>, stopped: &CancellationToken) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error))),
    };
    if started.send(Ok(runtime.handle().clone())).is_ok() {
        runtime.block_on(stopped.cancelled());
    }
    // Drops the tasks, and does not wait for a DNS lookup that is still running.
    runtime.shutdown_background();
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // Its panic, if any, has been logged.
            let _ = thread.join();
        }
    }
}

impl Worker {
    fn new(runtime: Handle) -> Self {
        Self { runtime, connections: Arc::default() }
    }

    /// Counts a connection.
    pub(super) fn serves_one_more(&self) -> Served {
        Served(Arc::clone(&self.connections))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_goes_to_the_thread_that_serves_the_fewest() {
        let workers = Workers::start(3).unwrap();
        let ids = || async {
            let worker = workers.least_loaded();
            let served = worker.serves_one_more();
            (worker.runtime.spawn(async { thread::current().id() }).await.unwrap(), served)
        };
        let (a, b, c) = (ids().await, ids().await, ids().await);
        assert!(a.0 != b.0 && b.0 != c.0 && c.0 != a.0, "each has one");

        drop(b.1);

        assert_eq!(ids().await.0, b.0, "it had none left");
    }

    #[tokio::test]
    async fn one_thread_is_the_one_that_runs_anyway() {
        let workers = Workers::start(1).unwrap();

        let task = workers.least_loaded().runtime.spawn(async { thread::current().id() });

        assert_eq!(task.await.unwrap(), thread::current().id());
    }

    #[tokio::test]
    async fn the_threads_end_with_their_connections_when_the_workers_are_dropped() {
        let workers = Workers::start(2).unwrap();
        let never = workers.least_loaded().runtime.spawn(std::future::pending::<()>());

        drop(workers);

        assert!(never.await.unwrap_err().is_cancelled());
    }
}
