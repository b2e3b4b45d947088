//! The connections to Stytch: how many were opened, how many requests found one open, and how many
//! are open.
//!
//! reqwest keeps its connections to itself. So a layer around its connector notes each one when it
//! is opened, and the system says which of them are open still.

use std::{
    cell::Cell,
    collections::{HashSet, VecDeque},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::SystemTime,
};

use hyper_util::client::legacy::connect::{Connection, HttpInfo};
use tokio::task::futures::TaskLocalFuture;
use tower::{Layer, Service, ServiceExt as _};

use super::sockets::{self, Ends};
use crate::telemetry::metrics::Metrics;

/// The most connections to remember. There are not more calls in flight than that.
const MAX_REMEMBERED: usize = 16 * 1024;

tokio::task_local! {
    /// When the current request opens a connection.
    static OPENING: Cell<Opening>;
}

/// When a connection was opened, if it was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening {
    pub(super) begun: Option<SystemTime>,
    pub(super) open: Option<SystemTime>,
}

/// Makes a request. Whether it ends or is dropped, `opening` then says when it has opened a
/// connection. If it has not, it used one that was open.
pub(super) async fn observe<F: Future>(request: F, opening: &mut Opening) -> F::Output {
    let request = pin!(OPENING.scope(Cell::default(), request));
    let mut observed = Observed { request, opening };
    observed.request.as_mut().await
}

/// A request that is made, and where to say which connection it has opened.
struct Observed<'a, F: Future> {
    request: Pin<&'a mut TaskLocalFuture<Cell<Opening>, F>>,
    opening: &'a mut Opening,
}

impl<F: Future> Drop for Observed<'_, F> {
    fn drop(&mut self) {
        if let Some(opening) = self.request.as_mut().take_value() {
            *self.opening = opening.get();
        }
    }
}

fn note(change: impl FnOnce(&mut Opening)) {
    // In a task of its own, as when a request did not wait for the connection, there is none.
    let _ = OPENING.try_with(|cell| {
        let mut opening = cell.get();
        change(&mut opening);
        cell.set(opening);
    });
}

/// The connections of all pools. Clones share them. As a layer, it counts those that a connector
/// opens.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<State>);

#[derive(Debug, Default)]
struct State {
    opened: AtomicU64,
    reused: AtomicU64,
    /// The connections that may be open, oldest first. Calls lock it when they open one, so nobody
    /// keeps it locked for long.
    maybe_open: Mutex<VecDeque<Ends>>,
}

impl Connections {
    /// Shows the counts on the page of metrics.
    pub(super) fn show(&self, metrics: &Metrics) {
        let Self(state) = self;
        let read = |count: &AtomicU64| count.load(Relaxed) as f64;
        metrics.upstream_connections_opened.watch(state, move |it| read(&it.opened));
        metrics.upstream_connections_reused.watch(state, move |it| read(&it.reused));
        if sockets::are_shown() {
            metrics
                .upstream_connections_open
                .watch(state, |it| it.count_open(sockets::established) as f64);
        }
    }

    /// Counts a request on a connection that was open already.
    pub(super) fn count_reuse(&self) {
        self.0.reused.fetch_add(1, Relaxed);
    }

    fn count_opened(&self, connection: &impl Connection) {
        note(|it| it.open = Some(SystemTime::now()));
        self.0.opened.fetch_add(1, Relaxed);
        let mut extensions = http::Extensions::new();
        connection.connected().get_extras(&mut extensions);
        let Some(info) = extensions.get::<HttpInfo>() else { return };
        let mut maybe_open = self.0.maybe_open();
        if maybe_open.len() == MAX_REMEMBERED {
            maybe_open.pop_front();
        }
        maybe_open.push_back(Ends { ours: info.local_addr(), theirs: info.remote_addr() });
    }
}

impl State {
    fn maybe_open(&self) -> MutexGuard<'_, VecDeque<Ends>> {
        self.maybe_open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the connections that are open, and forgets the others. Those that are opened while
    /// `established` looks count as open.
    fn count_open(
        &self,
        established: impl FnOnce(&HashSet<Ends>) -> Option<HashSet<Ends>>,
    ) -> usize {
        let known: HashSet<_> = self.maybe_open().iter().copied().collect();
        let open = if known.is_empty() { None } else { established(&known) };
        let mut maybe_open = self.maybe_open();
        if let Some(open) = open {
            maybe_open.retain(|ends| open.contains(ends) || !known.contains(ends));
        }
        maybe_open.len()
    }
}

impl<S> Layer<S> for Connections {
    type Service = Counted<S>;

    fn layer(&self, connector: S) -> Counted<S> {
        Counted { connector: Arc::new(connector), connections: self.clone() }
    }
}

/// A connector whose connections are counted. reqwest clones it for each request, so clones share
/// the connector until they connect.
pub(super) struct Counted<S> {
    connector: Arc<S>,
    connections: Connections,
}

impl<S> Clone for Counted<S> {
    fn clone(&self) -> Self {
        Self { connector: Arc::clone(&self.connector), connections: self.connections.clone() }
    }
}

impl<S, Target> Service<Target> for Counted<S>
where
    S: Service<Target, Response: Connection, Future: Send> + Clone + Send + 'static,
    Target: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Target) -> Self::Future {
        note(|it| it.begun = Some(SystemTime::now()));
        let (connector, connections) = (S::clone(&self.connector), self.connections.clone());
        Box::pin(async move {
            let connection = connector.oneshot(target).await?;
            connections.count_opened(&connection);
            Ok(connection)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_can_be_opened_while_the_table_of_sockets_is_read() {
        let ends = |port| Ends {
            ours: ([127, 0, 0, 1], port).into(),
            theirs: ([127, 0, 0, 1], 443).into(),
        };
        let state = State::default();
        state.maybe_open().extend([ends(1), ends(2)]);

        let count = state.count_open(|known| {
            assert_eq!(*known, HashSet::from([ends(1), ends(2)]));
            state.maybe_open.try_lock().expect("no lock is held").push_back(ends(3));
            Some(HashSet::from([ends(2)]))
        });

        assert_eq!(count, 2, "the one that is open, and the new one");
        assert_eq!(*state.maybe_open(), [ends(2), ends(3)]);
        assert_eq!(state.count_open(|_| None), 2, "where the system does not say");
    }
}
