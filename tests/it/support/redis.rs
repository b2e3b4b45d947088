//! A real Redis on a port of its own, gone with the test.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{FromRedisValue, aio::MultiplexedConnection};

use super::{PATIENCE, folder::Folder};

/// A `redis-server` that keeps everything in memory.
pub struct Redis {
    pub port: u16,
    child: Option<Child>,
    flags: Vec<String>,
    folder: Folder,
}

impl Redis {
    /// Starts one. None where `redis-server` is not installed, which is said aloud, and is a failure in CI.
    pub async fn start() -> Option<Self> {
        Self::with_flags(|_, _| Vec::new()).await
    }

    /// The same with further flags, given a folder for files and the port.
    pub async fn with_flags(flags: impl FnOnce(&Path, u16) -> Vec<String>) -> Option<Self> {
        let missing = Command::new("redis-server").arg("--version").output().is_err();
        if missing {
            assert!(std::env::var_os("CI").is_none(), "redis-server is not installed");
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            super::report(&format!("SKIPPED {test}: redis-server is not installed"));
            return None;
        }
        let port = free_port();
        let folder = Folder::new();
        let mut redis = Self { port, child: None, flags: flags(folder.as_ref(), port), folder };
        redis.restart().await;
        Some(redis)
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
        let port = self.port.to_string();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
            .args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"])
            .arg("--dir")
            .arg(self.folder())
            .args(&self.flags)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
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
        let port = primary.port.to_string();
        self.ask::<()>(&["REPLICAOF", "127.0.0.1", &port]).await;
        let start = Instant::now();
        while !self.ask::<String>(&["INFO", "replication"]).await.contains("master_link_status:up")
        {
            assert!(start.elapsed() < PATIENCE, "it does not follow");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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

/// A port below those that connections are given, so that none of them has it while Redis is down.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..30_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
