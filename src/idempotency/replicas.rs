//! Writes that replicas of Redis have acknowledged, so that a failover does not forget them.
//!
//! `WAIT` waits for what its own connection has written, and while it does, Redis serves nothing else there. So a
//! write and its `WAIT` go out in one piece, over a connection that nobody else uses meanwhile, and which leads to
//! the one node of a cluster that has the key. Whoever finds none free waits here, where it can give up with nothing
//! written, and not in a queue of Redis's.

use std::sync::{Arc, Mutex, PoisonError};

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, pipe};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::link::{Link, PATIENCE, Source, within};

/// How many may wait at a time. Replicas take a millisecond or so.
const CONNECTIONS: usize = 8;
/// How long replicas may take, in milliseconds: half of what Redis may take for one command.
const ACKNOWLEDGED_WITHIN: u64 = 500;

/// So many replicas, and the connections to wait for them on. Clones share them.
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

    /// Runs a command that writes, and succeeds when all the replicas have what it wrote.
    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let Inner { count, .. } = *self.0;
        let mut both = pipe();
        both.add_command(command.clone()).cmd("WAIT").arg(count);
        both.arg(ACKNOWLEDGED_WITHIN);
        let exclusive = within(PATIENCE / 2, self.exclusive()).await;
        let mut exclusive = exclusive
            .map_err(|_| (ErrorKind::Client, "too many others wait for replicas to acknowledge"))?;
        let result: RedisResult<(T, u64)> =
            exclusive.link.run(async |connection| both.query_async(connection).await).await;
        if result.as_ref().is_err_and(RedisError::is_timeout) {
            // The next one would queue behind this one.
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

/// A connection that nobody else uses, until it is dropped.
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
