//! A connection to Redis that is made when it is first used, and replaced when it is of no more
//! use.
//!
//! A broken connection is not the only case. A demoted primary still answers and rejects every
//! write, and a server that hangs keeps its connections open. So a rejected write and a timeout
//! replace the connection, too, and the next command goes to the server that has the address by
//! then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use redis::{RedisError, RedisResult};

use super::{
    connection::{COMMAND_TIMEOUT, Connection, Source, connect, within},
    errors::{explain, needs_reconnect},
};
use crate::per_runtime::PerRuntime;

/// How long connecting may take in all, to several Sentinels or to all nodes of a cluster. Commands
/// wait no longer than their own timeout; later ones use the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The attempt to connect, and its result once there is one.
type Attempt = Shared<BoxFuture<'static, RedisResult<Connection>>>;

/// A link for each runtime, so that no command wakes the thread of another one.
pub(super) struct Links {
    source: Source,
    links: PerRuntime<Link>,
}

impl Links {
    pub(super) fn new(source: Source) -> Self {
        Self { source, links: PerRuntime::default() }
    }

    /// Returns the link of this runtime.
    pub(super) fn link(&self) -> &Link {
        self.links.get_or(|| Link::new(self.source.clone()))
    }
}

/// One connection at a time. Clones share it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    source: Source,
    /// Begins to connect when it is first waited for.
    current: ArcSwap<Attempt>,
    is_renewing: AtomicBool,
}

impl Link {
    pub(super) fn new(source: Source) -> Self {
        let current = ArcSwap::from_pointee(attempt(&source));
        Self(Arc::new(Inner { source, current, is_renewing: AtomicBool::new(false) }))
    }

    /// Runs `work` on the connection, for at most [`COMMAND_TIMEOUT`].
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let attempt = self.0.current.load_full();
        let result = within(COMMAND_TIMEOUT, async {
            let mut connection = Attempt::clone(&attempt).await?;
            work(&mut connection).await
        });
        let result = result.await;
        if let Err(error) = &result {
            self.reconnect_if_needed(&attempt, error);
        }
        result
    }

    /// Replaces the connection of `attempt` if, after `error`, another may do better.
    fn reconnect_if_needed(&self, attempt: &Arc<Attempt>, error: &RedisError) {
        match attempt.peek() {
            // Still connecting.
            None => {}
            Some(Err(_)) => self.replace(attempt),
            Some(Ok(_)) if !needs_reconnect(error) => {}
            // Other commands may still get replies, or talk to other nodes.
            Some(Ok(Connection::Cluster(_))) => self.renew(attempt),
            Some(Ok(Connection::Server(_))) if error.is_timeout() => self.renew(attempt),
            Some(Ok(Connection::Server(_))) => self.replace(attempt),
        }
    }

    /// Lets the next command reconnect, unless the connection has been replaced already.
    fn replace(&self, attempt: &Arc<Attempt>) {
        self.0.current.compare_and_swap(attempt, Arc::new(self::attempt(&self.0.source)));
    }

    /// Reconnects, and keeps the connection in use until that has succeeded.
    fn renew(&self, attempt: &Arc<Attempt>) {
        if self.0.is_renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (link, attempt) = (self.clone(), Arc::clone(attempt));
        tokio::spawn(async move {
            let renewed = self::attempt(&link.0.source);
            if renewed.clone().await.is_ok() {
                link.0.current.compare_and_swap(&attempt, Arc::new(renewed));
            }
            link.0.is_renewing.store(false, Ordering::Release);
        });
    }
}

/// Connects in a task of its own, so that it goes on when all commands that wait for it have timed
/// out.
fn attempt(source: &Source) -> Attempt {
    let source = source.clone();
    let connected = async move {
        let task = tokio::spawn(async move { within(CONNECT_TIMEOUT, connect(source)).await });
        let result = task.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
        result.map_err(explain)
    };
    connected.boxed().shared()
}
