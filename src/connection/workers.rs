//! The threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on its thread, with all of its calls and the connections to Stytch that they
//! use. So nothing that happens in a call wakes another thread, which is what a runtime of several
//! threads spends its time on while calls are short.

use std::{io, sync::Arc, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads that serve the connections of a port. They end when this is dropped, with every task
/// that is left on them.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Vec<Worker>,
    _stop: DropGuard,
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
        let stop = CancellationToken::new();
        Self { workers: vec![Worker::new(Handle::current())], _stop: stop.drop_guard() }
    }

    /// Starts this many threads. One is none: it would leave the runtime that this is called on
    /// with nothing to do.
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
        let start = |number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let worker = Worker::new(runtime.handle().clone());
            let stopped = stop.clone();
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(stopped.cancelled()))?;
            Ok(worker)
        };
        let workers = (0..threads).map(start).collect::<io::Result<_>>();
        Ok(Self { workers: workers?, _stop: stop.drop_guard() })
    }

    /// Returns the worker with the fewest connections.
    pub(super) fn least_loaded(&self) -> &Worker {
        let workers = self.workers.iter();
        workers.min_by_key(|it| Arc::strong_count(&it.connections)).expect("at least one")
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
