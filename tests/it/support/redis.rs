//! A real Redis on a port of its own, gone with the test.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{FromRedisValue, aio::MultiplexedConnection};
use totp_facade::idempotency::{RedisSettings, StoreSettings};

use super::{PATIENCE, folder::Folder};

/// Records in the Redis of this URL, whose replicas do not count.
pub fn store(url: &str) -> StoreSettings {
    StoreSettings::Redis(RedisSettings { url: url.into(), min_replicas: 0, ca_file: None })
}

/// A `redis-server` that keeps everything in memory.
pub struct Redis {
    pub port: u16,
    child: Option<Child>,
    kind: Kind,
    folder: Folder,
}

enum Kind {
    Server(Vec<String>),
    Sentinel,
}

impl Redis {
    /// Starts one. None where `redis-server` is not installed, which is said aloud, and is a
    /// failure in CI.
    pub async fn start() -> Option<Self> {
        Self::with_flags(|_, _| Vec::new()).await
    }

    /// The same with further flags, given a folder for files and the port.
    pub async fn with_flags(flags: impl FnOnce(&Path, u16) -> Vec<String>) -> Option<Self> {
        is_installed().then_some(())?;
        let (port, folder) = (free_port(), Folder::new());
        let kind = Kind::Server(flags(folder.as_ref(), port));
        let mut redis = Self { port, child: None, kind, folder };
        redis.restart().await;
        Some(redis)
    }

    /// A Sentinel with this configuration, given a folder for files and the port.
    pub async fn sentinel(configuration: impl FnOnce(&Path, u16) -> String) -> Self {
        let (port, folder) = (free_port(), Folder::new());
        let lines = configuration(folder.as_ref(), port);
        let dir = folder.as_ref().display();
        let lines = format!("bind 127.0.0.1\ndir {dir}\n{lines}\n");
        std::fs::write(folder.as_ref().join("sentinel.conf"), lines).unwrap();
        let mut sentinel = Self { port, child: None, kind: Kind::Sentinel, folder };
        sentinel.restart().await;
        sentinel
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_ref()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, and with it all that it knew.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it anew, empty, and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        match &self.kind {
            Kind::Server(flags) => command
                .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
                .args(["--appendonly", "no", "--repl-diskless-sync-delay", "0"])
                .args(["--repl-ping-replica-period", "1"])
                .arg("--dir")
                .arg(self.folder())
                .args(flags),
            Kind::Sentinel => command.arg(self.folder().join("sentinel.conf")).arg("--sentinel"),
        };
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        let start = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(start.elapsed() < PATIENCE, "redis-server does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops it in its tracks: connections stay open and are not served.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        super::process::signal(self.child.as_ref().expect("it runs").id(), name);
    }

    pub fn addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Asks it something as an operator does.
    pub async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().unwrap();
        let mut command = redis::cmd(name);
        command.arg(arguments);
        command.query_async(&mut self.connection().await).await.unwrap()
    }

    /// Makes it a replica of `primary`, and waits until it follows.
    pub async fn follow(&self, primary: &Self) {
        self.follow_at(primary.port).await;
    }

    /// The same by way of another port.
    pub async fn follow_at(&self, port: u16) {
        let port = port.to_string();
        self.ask::<()>(&["REPLICAOF", "127.0.0.1", &port]).await;
        eventually("it follows", async || {
            self.ask::<String>(&["INFO", "replication"]).await.contains("master_link_status:up")
        })
        .await;
    }

    /// Whether it takes itself for a primary.
    pub async fn is_primary(&self) -> bool {
        self.ask::<String>(&["INFO", "replication"]).await.contains("role:master")
    }

    /// Waits until so many replicas acknowledge what it writes: one that has just caught up does
    /// not for a second.
    pub async fn has_replicas(&self, count: u8) {
        let mut connection = self.connection().await;
        let mut write_and_wait = redis::pipe();
        write_and_wait.cmd("SET").arg("replicas").arg(count).arg("PX").arg(1).ignore();
        write_and_wait.cmd("WAIT").arg(count).arg(100);
        eventually("the replicas acknowledge", async || {
            let (acknowledged,): (u8,) = write_and_wait.query_async(&mut connection).await.unwrap();
            acknowledged >= count
        })
        .await;
    }

    /// Makes it a primary.
    pub async fn promote(&self) {
        self.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// How many records there are.
    pub async fn records(&self) -> usize {
        redis::cmd("DBSIZE").query_async(&mut self.connection().await).await.unwrap()
    }

    /// Every name and every value there is.
    pub async fn everything(&self) -> Vec<Vec<u8>> {
        let mut connection = self.connection().await;
        let names: Vec<Vec<u8>> =
            redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
        let mut all = names.clone();
        for name in names {
            all.push(redis::cmd("GET").arg(name).query_async(&mut connection).await.unwrap());
        }
        all
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What Sentinels call the primary.
pub const PRIMARY: &str = "the-primary";

/// A primary, two replicas, and three Sentinels that choose another primary when it is gone for
/// half a second.
pub struct Sentinels {
    pub servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl Sentinels {
    pub async fn start() -> Option<Self> {
        let mut servers = Vec::new();
        for _ in 0..3 {
            servers.push(Redis::start().await?);
        }
        for replica in &servers[1..] {
            replica.follow(&servers[0]).await;
        }
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let sentinel = Redis::sentinel(|_, port| {
                let primary = servers[0].port;
                format!(
                    "port {port}\n\
                     sentinel monitor {PRIMARY} 127.0.0.1 {primary} 2\n\
                     sentinel down-after-milliseconds {PRIMARY} 500\n\
                     sentinel failover-timeout {PRIMARY} 3000"
                )
            });
            sentinels.push(sentinel.await);
        }
        for sentinel in &sentinels {
            eventually("the Sentinels know everybody", async || {
                let known: HashMap<String, String> =
                    sentinel.ask(&["SENTINEL", "MASTER", PRIMARY]).await;
                known["num-slaves"] == "2" && known["num-other-sentinels"] == "2"
            })
            .await;
        }
        Some(Self { servers, sentinels })
    }

    pub fn url(&self) -> String {
        let sentinels: Vec<_> =
            self.sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect();
        format!("redis+sentinel://{}/{PRIMARY}", sentinels.join(","))
    }
}

/// Three primaries with a replica each, which takes its place when it is gone for a second.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub async fn start() -> Option<Self> {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let flags = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
            let flags = flags.map(ToOwned::to_owned).to_vec();
            nodes.push(Redis::with_flags(|_, _| flags).await?);
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create", "--cluster-replicas", "1", "--cluster-yes"]);
        create.args(nodes.iter().map(|node| node.addr().to_string()));
        let output = tokio::task::spawn_blocking(move || create.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        for node in &nodes {
            eventually("the cluster serves, each primary with its replica", async || {
                let info: String = node.ask(&["CLUSTER", "INFO"]).await;
                let replication: String = node.ask(&["INFO", "replication"]).await;
                info.contains("cluster_state:ok")
                    && (replication.contains("master_link_status:up")
                        || replication.contains("state=online"))
            })
            .await;
        }
        Some(Self { nodes })
    }

    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| node.addr().to_string()).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// The primaries.
    pub async fn primaries(&self) -> Vec<usize> {
        let mut primaries = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if node.is_primary().await {
                primaries.push(number);
            }
        }
        primaries
    }
}

/// Waits until it is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether `redis-server` is; if not, that is said aloud, and is a failure in CI.
fn is_installed() -> bool {
    let is_installed = Command::new("redis-server").arg("--version").output().is_ok();
    if !is_installed {
        assert!(std::env::var_os("CI").is_none(), "redis-server is not installed");
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        super::report(&format!("SKIPPED {test}: redis-server is not installed"));
    }
    is_installed
}

/// A port below those that connections are given, so that none of them has it while Redis is down;
/// as is the one 10 000 above it, by which the nodes of a cluster talk.
fn free_port() -> u16 {
    let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let port = fastrand::u16(10_000..22_000);
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}
