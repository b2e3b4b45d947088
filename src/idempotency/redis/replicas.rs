//! Writes that replicas of Redis acknowledge, so that a failover does not forget them.
//!
//! `WAIT` covers the writes of its own connection, and blocks that connection meanwhile. So a write
//! and its `WAIT` are sent as one pipeline, on a connection that nothing else uses meanwhile, and
//! in a cluster to the node that has the key. A command without a free connection waits in this
//! process, where it can time out with nothing written, and not in a queue of Redis.

use std::sync::{Arc, Mutex, PoisonError};

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, pipe};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    connection::{COMMAND_TIMEOUT, Source, within},
    link::Link,
};

/// How many commands may wait for replicas at a time. An acknowledgement takes about a millisecond.
const CONNECTIONS: usize = 8;
/// How long replicas may take to acknowledge, in milliseconds: half of [`COMMAND_TIMEOUT`].
const WAIT_MILLIS: u64 = 500;

/// The number of replicas that must acknowledge, and connections to wait on. Clones share them.
#[derive(Clone)]
pub(super) struct Replicas(Arc<Inner>);

struct Inner {
    source: Source,
    count: u8,
    free: Semaphore,
    links: Mutex<Vec<Link>>,
}

impl Replicas {
    pub(super) fn new(source: &Source, count: u8) -> Self {
        Self(Arc::new(Inner {
            source: source.clone(),
            count,
            free: Semaphore::new(CONNECTIONS),
            links: Mutex::new((0..CONNECTIONS).map(|_| Link::new(source.clone())).collect()),
        }))
    }

    /// Runs a command that writes. Succeeds once enough replicas have what it wrote.
    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let Inner { count, .. } = *self.0;
        let mut both = pipe();
        both.add_command(command.clone()).cmd("WAIT").arg(count);
        both.arg(WAIT_MILLIS);
        let exclusive = within(COMMAND_TIMEOUT / 2, self.exclusive()).await;
        let mut exclusive = exclusive
            .map_err(|_| (ErrorKind::Client, "too many others wait for replicas to acknowledge"))?;
        let result: RedisResult<(T, u64)> =
            exclusive.link.run(async |connection| both.query_async(connection).await).await;
        if result.as_ref().is_err_and(RedisError::is_timeout) {
            // The next command would queue behind this one.
            exclusive.link = Link::new(self.0.source.clone());
        }
        let (answer, acknowledged) = result?;
        match acknowledged >= u64::from(count) {
            true => Ok(answer),
            false => Err(self.missing(acknowledged)),
        }
    }

    fn missing(&self, acknowledged: u64) -> RedisError {
        let detail = format!("{acknowledged} of {}", self.0.count);
        (ErrorKind::Client, "replicas have not acknowledged in time", detail).into()
    }

    async fn exclusive(&self) -> RedisResult<Exclusive<'_>> {
        let permit = self.0.free.acquire().await.map_err(std::io::Error::other)?;
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.pop().expect("as many as permits");
        Ok(Exclusive { link, replicas: &self.0, _permit: permit })
    }
}

/// A connection that nothing else uses until this is dropped.
struct Exclusive<'a> {
    link: Link,
    replicas: &'a Inner,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        let mut links = self.replicas.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.push(self.link.clone());
    }
}
