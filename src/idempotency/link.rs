//! A connection to Redis, made when it is first needed, and again when nothing more is to be had from it.
//!
//! That is so not only when it breaks. A primary that was demoted goes on answering, and refuses every write; one
//! that hangs keeps its connections open. So a refused write and a silence cost the connection too, and the next
//! command goes to whoever has the address by then.

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
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, RedisResult, ServerErrorKind, TlsCertificates,
    TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::time::timeout;

use super::{address::Address, authorities::Authorities};
use crate::files::Reloaded;

/// How long Redis may take for one command, connecting included.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How long connecting may take in all, for whoever comes later: to several Sentinels, or to all nodes of a cluster.
const CONNECTING: Duration = Duration::from_secs(5);

type Attempt = Shared<BoxFuture<'static, RedisResult<Connection>>>;

/// What to connect to.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) address: Address,
    /// Whom to trust there, as it is when a connection is made; otherwise the system's authorities.
    pub(super) authorities: Option<Reloaded<Authorities>>,
}

/// One connection at a time. Clones share it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    source: Source,
    /// The connection, or the attempt to make it, which begins when somebody waits for it.
    current: ArcSwap<Attempt>,
    is_renewing: AtomicBool,
}

/// Whatever takes writes.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    /// To every node that there is.
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) fn new(source: Source) -> Self {
        let current = ArcSwap::from_pointee(attempt(&source));
        Self(Arc::new(Inner { source, current, is_renewing: AtomicBool::new(false) }))
    }

    /// Does `work` over the connection, unless it takes longer than Redis may take.
    pub(super) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let attempt = self.0.current.load_full();
        let result = within(PATIENCE, async {
            let mut connection = Attempt::clone(&attempt).await?;
            work(&mut connection).await
        });
        let result = result.await;
        if let Err(error) = &result {
            self.doubt(&attempt, error);
        }
        result
    }

    /// Sees to another connection where this one may be of no more use.
    fn doubt(&self, attempt: &Arc<Attempt>, error: &RedisError) {
        match attempt.peek() {
            // It has still to be made.
            None => {}
            Some(Err(_)) => self.replace(attempt),
            Some(Ok(_)) if !is_spent(error) => {}
            // Others may have answers to come, or other nodes to talk to.
            Some(Ok(Connection::Cluster(_))) => self.renew(attempt),
            Some(Ok(Connection::Server(_))) if error.is_timeout() => self.renew(attempt),
            Some(Ok(Connection::Server(_))) => self.replace(attempt),
        }
    }

    /// The next command connects anew, unless another has already seen to it.
    fn replace(&self, attempt: &Arc<Attempt>) {
        self.0.current.compare_and_swap(attempt, Arc::new(self::attempt(&self.0.source)));
    }

    /// Connects anew, and keeps the connection until that has succeeded.
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

/// In a task of its own, so that it goes on when all who wait for it have lost their patience.
fn attempt(source: &Source) -> Attempt {
    let source = source.clone();
    let connected = async move {
        let task = tokio::spawn(async move { within(CONNECTING, connect(source)).await });
        task.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    };
    connected.boxed().shared()
}

async fn connect(Source { address, authorities }: Source) -> RedisResult<Connection> {
    let authorities = authorities.map(|authorities| authorities.get().certificates().clone());
    match address {
        Address::Server(info) => {
            let client = match authorities {
                None => Client::open(info),
                Some(authorities) => Client::build_with_tls(info, authorities),
            };
            connect_to(&client?).await
        }
        Address::Sentinel { sentinels, primary, settings } => {
            let mut client = sentinel(sentinels, &primary, &settings, authorities)?;
            connect_to(&client.async_get_client().await?).await
        }
        Address::Cluster(nodes) => {
            let mut client = ClusterClientBuilder::new(nodes)
                .connection_timeout(PATIENCE)
                .response_timeout(PATIENCE)
                .retries(4)
                .min_retry_wait(10)
                .max_retry_wait(200);
            if let Some(authorities) = authorities {
                client = client.certs(authorities);
            }
            Ok(Connection::Cluster(client.build()?.get_async_connection().await?))
        }
    }
}

async fn connect_to(client: &Client) -> RedisResult<Connection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Server)
}

/// Asks Sentinels for a primary, and that whether it is one.
fn sentinel(
    sentinels: Vec<ConnectionInfo>,
    primary: &str,
    settings: &RedisConnectionInfo,
    authorities: Option<TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let first = sentinels.first().cloned();
    let addresses = sentinels.iter().map(|sentinel| sentinel.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?
        .set_client_to_redis_db(settings.db());
    if let Some(username) = settings.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    let Some(first) = first else { return builder.build() };
    // What holds for one of them holds for all, and for the primary.
    builder = builder
        .set_client_to_redis_tcp_settings(first.tcp_settings().clone())
        .set_client_to_sentinel_tcp_settings(first.tcp_settings().clone());
    if let Some(username) = first.redis_settings().username() {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = first.redis_settings().password() {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(authorities) = authorities {
        builder = builder
            .set_client_to_sentinel_certificates(authorities.clone())
            .set_client_to_redis_certificates(authorities);
    }
    builder.build()
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The result of `work`, unless it takes longer.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    timeout(limit, work).await.unwrap_or_else(|elapsed| {
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
