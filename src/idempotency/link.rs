//! A connection to Redis, made when it is first needed, and again when nothing more is to be had from it.
//!
//! That is so not only when it breaks. A primary that was demoted goes on answering, and refuses every write; one
//! that hangs keeps its connections open. So a refused write and a silence cost the connection too, and the next
//! command goes to whoever has the address by then.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::time::timeout;

/// How long Redis may take for one command, connecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

type Attempt = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

/// One connection at a time. Clones share it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    client: Client,
    /// The connection, or the attempt to make it, which begins when somebody waits for it.
    current: ArcSwap<Attempt>,
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        let current = ArcSwap::from_pointee(attempt(&client));
        Self(Arc::new(Inner { client, current }))
    }

    /// Does `work` over the connection, unless it takes longer than Redis may take.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let attempt = self.0.current.load_full();
        let result = within(async {
            let mut connection = Attempt::clone(&attempt).await?;
            work(&mut connection).await
        });
        let result = result.await;
        if result.as_ref().is_err_and(is_spent) {
            // Unless another command has already seen to it.
            self.0.current.compare_and_swap(&attempt, Arc::new(self::attempt(&self.0.client)));
        }
        result
    }
}

/// In a task of its own, so that it goes on when all who wait for it have lost their patience.
fn attempt(client: &Client) -> Attempt {
    let client = client.clone();
    let connected = async move {
        let task = tokio::spawn(async move { connect(&client).await });
        task.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    };
    connected.boxed().shared()
}

async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

async fn within<T>(command: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(PATIENCE, command).await.unwrap_or_else(|elapsed| {
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed).into())
    })
}

/// Whether another connection may help where this one has not.
fn is_spent(error: &RedisError) -> bool {
    match error.kind() {
        // The server can be reached, and has something against the command. While it is loading its data, or is out
        // of memory, another connection to it changes nothing.
        ErrorKind::Server(_) | ErrorKind::Extension => is_refused_by_a_replica(error),
        ErrorKind::Client | ErrorKind::UnexpectedReturnType => false,
        _ => true,
    }
}

/// Whether another try is worth its while at once: nothing was done, or what was done is done again.
pub(super) fn is_worth_another_try(error: &RedisError) -> bool {
    error.is_connection_dropped() || is_refused_by_a_replica(error)
}

/// Whether the server takes no writes because it is, or has become, a replica.
fn is_refused_by_a_replica(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => true,
        // Redis before 7 wraps what a script runs into: `ERR Error running script … -READONLY …`.
        ErrorKind::Server(_) | ErrorKind::Extension => {
            let text = error.to_string();
            text.contains("-READONLY") || text.contains("-MASTERDOWN")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use redis::ServerError;

    use super::*;

    fn answered(line: &str) -> RedisError {
        let error: RedisResult<ServerError> = match redis::parse_redis_value(line.as_bytes()) {
            Ok(redis::Value::ServerError(error)) => Ok(error),
            other => panic!("{other:?}"),
        };
        error.unwrap().into()
    }

    #[test]
    fn a_server_that_takes_no_writes_costs_the_connection_and_one_that_is_busy_does_not() {
        for (line, is_a_replica) in [
            (
                "-READONLY You can't write against a read only replica. script: 0ab, on @user_script:2.\r\n",
                true,
            ),
            (
                "-ERR Error running script (call to f_0ab): @user_script:2: @user_script: 2: -READONLY You can't \
              write against a read only replica.\r\n",
                true,
            ),
            (
                "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
                true,
            ),
            ("-LOADING Redis is loading the dataset in memory\r\n", false),
            ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", false),
            ("-BUSY Redis is busy running a script.\r\n", false),
            ("-NOPERM this user has no permissions to run the 'eval' command\r\n", false),
            ("-ERR unknown command 'EVAL'\r\n", false),
        ] {
            let error = answered(line);

            assert_eq!(is_spent(&error), is_a_replica, "{line}");
            assert_eq!(is_worth_another_try(&error), is_a_replica, "{line}");
        }
    }
}
