//! Starts façades and sandboxes on free ports, as the binary runs them.

pub mod credentials;
pub mod door;
pub mod folder;
#[cfg(target_os = "linux")]
pub mod frames;
pub mod http2;
pub mod oracle;
pub mod otlp;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod rfc6238;
pub mod rpc;
pub mod scrape;
#[cfg(unix)]
pub mod socket;
#[cfg(unix)]
pub mod stderr;

use std::{io::Write as _, net::SocketAddr, time::Duration};

use secrecy::SecretString;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tonic::{
    Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use totp_facade::{
    access,
    connection::tls,
    facade,
    idempotency::{self, StoreSettings},
    proto::stytch::b2b::totp::v1::{CreateRequest, totp_service_client::TotpServiceClient},
    sandbox::{Sandbox, Seed},
    server::{self, Listeners, Server},
    stytch::Settings,
    telemetry::metrics::{Format, Metrics},
};

/// How long a test waits for something: far longer than anything takes, and short enough to notice
/// a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A façade in this process.
pub struct Facade {
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: Metrics,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), server::Error>>,
}

/// The settings of a façade.
pub struct Setup {
    pub stytch: Settings,
    pub server: server::Settings,
    pub idempotency: idempotency::Settings,
    pub tls: Option<tls::Files>,
    pub access: access::Settings,
    pub metrics: Metrics,
    pub traces: Option<totp_facade::otlp::Settings>,
}

impl Setup {
    /// Returns ordinary settings, with `upstream` for Stytch and the sandbox's credentials.
    pub fn new(upstream: SocketAddr) -> Self {
        let project = Seed::embedded().project;
        Self {
            stytch: Settings {
                base_url: format!("http://{upstream}").parse().unwrap(),
                project_id: project.project_id,
                secret: SecretString::from(project.secret),
                secret_file: None,
                ca_file: None,
                timeout: Duration::from_secs(10),
                connect_timeout: Duration::from_secs(2),
                max_connection_age: Duration::ZERO,
            },
            server: server::Settings {
                reflection: true,
                worker_threads: 1,
                max_in_flight: 64,
                max_connections: 64,
                max_connection_age: Duration::ZERO,
                drain_delay: Duration::ZERO,
                drain_timeout: Duration::from_secs(10),
            },
            idempotency: idempotency::Settings {
                ttl: Duration::from_secs(600),
                store: StoreSettings::Memory { max_bytes: 16 * 1024 * 1024 },
            },
            tls: None,
            access: access::Settings::default(),
            metrics: Metrics::default(),
            traces: None,
        }
    }

    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.stytch.timeout = timeout;
        self
    }

    /// Builds the server.
    pub fn server(self) -> Server {
        let Self { stytch, server, idempotency, tls, access, metrics, traces } = self;
        let settings = facade::Settings { stytch, idempotency, tls, access, server, traces };
        facade::build(&settings, metrics).unwrap()
    }

    pub async fn start(self) -> Facade {
        start(self.server()).await
    }
}

/// Runs a server on free ports.
pub async fn start(server: Server) -> Facade {
    let (grpc, admin) = (listener().await, listener().await);
    let (addr, admin_addr) = (grpc.local_addr().unwrap(), admin.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    let metrics = server.metrics.clone();
    let stopped = async { stopped.await.unwrap_or_default() };
    let task = tokio::spawn(server.run(Listeners { grpc: grpc.into(), admin }, stopped));
    Facade { addr, admin: admin_addr, metrics, stop, task }
}

impl Facade {
    /// Waits until the metrics page contains this line.
    pub async fn shows(&self, line: &str) {
        let start = std::time::Instant::now();
        while !self.metrics.page(Format::Text).lines().any(|it| it == line) {
            assert!(start.elapsed() < PATIENCE, "no {line} in {}", self.metrics.page(Format::Text));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts a façade in front of `upstream`, with ordinary settings.
    pub async fn in_front_of(upstream: SocketAddr) -> Self {
        Setup::new(upstream).start().await
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.addr)).unwrap().connect().await.unwrap()
    }

    pub async fn client(&self) -> TotpServiceClient<Channel> {
        TotpServiceClient::new(self.channel().await)
    }

    /// Asks it to stop, without waiting.
    pub fn stop(self) -> JoinHandle<Result<(), server::Error>> {
        self.stop.send(()).unwrap();
        self.task
    }
}

/// Starts a sandbox in this process.
pub async fn sandbox() -> SocketAddr {
    serve(Sandbox::new(Seed::embedded())).await
}

/// Starts this sandbox in this process.
pub async fn serve(sandbox: Sandbox) -> SocketAddr {
    let listener = listener().await;
    let addr = listener.local_addr().unwrap();
    tokio::spawn(sandbox.run(listener, std::future::pending()));
    addr
}

/// A port that nothing listens on. It stays reserved while the value lives.
pub struct Closed {
    pub addr: SocketAddr,
    socket: TcpSocket,
}

impl Closed {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { addr: socket.local_addr().unwrap(), socket }
    }

    /// Listens on the port.
    pub fn open(self) -> TcpListener {
        self.socket.listen(1024).unwrap()
    }
}

/// An address where connecting hangs, because its backlog is full. It stays so while the value
/// lives.
pub struct Deaf {
    pub addr: SocketAddr,
    _held: (TcpListener, Vec<TcpStream>),
}

impl Deaf {
    pub async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut held = Vec::new();
        let patience = Duration::from_millis(100);
        while let Ok(Ok(stream)) = timeout(patience, TcpStream::connect(addr)).await {
            held.push(stream);
        }
        Self { addr, _held: (listener, held) }
    }
}

pub async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Connects to a façade that runs as a process.
pub async fn channel(url: &str) -> Channel {
    // Unlike `Channel::from_shared`, it takes Unix domain sockets.
    Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap()
}

/// Returns a Create request for a member of the sandbox.
pub fn create(member_id: &str) -> CreateRequest {
    CreateRequest {
        organization_id: "example-works".into(),
        member_id: member_id.into(),
        ..Default::default()
    }
}

/// The `ErrorInfo` of a status, which every error must have.
pub struct Info {
    pub reason: String,
    pub domain: String,
    pub upstream: String,
    pub http_status: Option<String>,
    pub error_type: Option<String>,
}

pub fn info(status: &Status) -> Info {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    Info {
        reason: info.reason.clone(),
        domain: info.domain.clone(),
        upstream: info.metadata["upstream"].clone(),
        http_status: info.metadata.get("http_status").cloned(),
        error_type: info.metadata.get("error_type").cloned(),
    }
}

/// Returns the retry pushback, from the trailers.
pub fn pushback(status: &Status) -> Option<&str> {
    text(status.metadata(), "grpc-retry-pushback-ms")
}

/// Returns Stytch's request id, from the response metadata.
pub fn request_id(metadata: &MetadataMap) -> Option<&str> {
    text(metadata, "stytch-request-id")
}

/// Whether the response replays that of an earlier call with the same key.
pub fn is_replayed(metadata: &MetadataMap) -> bool {
    text(metadata, "idempotent-replayed") == Some("true")
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key).map(|value| value.to_str().unwrap())
}

/// Prints a line that the test harness does not capture.
pub fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Reads a file of `fixtures/stytch/`.
pub fn fixture(name: &str) -> String {
    let path = fixture_path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether there is such a fixture.
pub fn exists(name: &str) -> bool {
    std::path::Path::new(&fixture_path(name)).exists()
}

fn fixture_path(name: &str) -> String {
    format!("{}/tests/it/fixtures/stytch/{name}", env!("CARGO_MANIFEST_DIR"))
}
