//! How to connect to Redis: to one server, to the primary that Sentinels name, or to a cluster.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::time::timeout;

use super::{address::Address, authorities::Authorities};
use crate::files::Reloaded;

/// How long one command may take, connecting included.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);

/// What to connect to.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) address: Address,
    /// The authorities to trust, read when a connection is made. `None` means the system's.
    pub(super) authorities: Option<Reloaded<Authorities>>,
}

/// A connection that takes writes.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    /// To all nodes of a cluster.
    Cluster(ClusterConnection),
}

/// Connects to whatever takes writes at the address at present.
pub(super) async fn connect(Source { address, authorities }: Source) -> RedisResult<Connection> {
    let authorities = authorities.map(|authorities| authorities.get().certificates().clone());
    match address {
        Address::Server(info) => {
            let info = info.set_tcp_settings(tcp());
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
            let nodes = nodes.into_iter().map(|node| node.set_tcp_settings(tcp()));
            let mut client = ClusterClientBuilder::new(nodes)
                .connection_timeout(COMMAND_TIMEOUT)
                .response_timeout(COMMAND_TIMEOUT)
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
        .set_connection_timeout(Some(COMMAND_TIMEOUT))
        .set_response_timeout(Some(COMMAND_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Server)
}

/// A client that asks the Sentinels for the primary, and the primary whether it is one.
fn sentinel(
    sentinels: Vec<ConnectionInfo>,
    primary: &str,
    settings: &RedisConnectionInfo,
    authorities: Option<TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let first = sentinels.first().cloned();
    let addresses = sentinels.iter().map(|sentinel| sentinel.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?
        .set_client_to_redis_db(settings.db())
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if let Some(username) = settings.username() {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = settings.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    let Some(first) = first else { return builder.build() };
    // All Sentinels have the same account, and TLS is for all of them and the primary, or for none.
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

fn tcp() -> TcpSettings {
    let tcp = TcpSettings::default().set_nodelay(true);
    // Detects a Redis that is gone without having closed its connections.
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(5 * COMMAND_TIMEOUT);
    tcp
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

/// Runs `work`, and fails if it takes longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    timeout(limit, work).await.unwrap_or_else(|elapsed| {
        Err(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed).into())
    })
}
