//! Flags and variables become one checked [`Config`].
//!
//! Values come in as text and are checked together, so that an operator sees every mistake at once.
//! [`Secrets`] are no flags: an argument list can be read by every user of the machine.

mod door;

use std::{env, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    access,
    connection::tls,
    files::pem,
    http_client::is_confidential,
    idempotency::{self, RedisSettings, StoreSettings},
    server, stytch,
};
pub use door::DoorArgs;

/// The variable that holds the project secret itself.
pub const SECRET: &str = "STYTCH_SECRET";
/// The variable that holds the URL of Redis, and in it a password.
pub const IDEMPOTENCY_URL: &str = "TOTP_FACADE_IDEMPOTENCY_URL";

const REDIS_CA_FILE: &str = "TOTP_FACADE_IDEMPOTENCY_CA_FILE";
const MIN_REPLICAS: &str = "TOTP_FACADE_IDEMPOTENCY_MIN_REPLICAS";

/// How long connecting to Stytch may take by default, if a whole call may take that long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time that a setting may be.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The values that are no flags, unchecked.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Of [`SECRET`].
    pub stytch: Option<SecretString>,
    /// Of [`IDEMPOTENCY_URL`].
    pub idempotency_url: Option<SecretString>,
}

impl Secrets {
    /// Those of the process environment.
    pub fn from_env() -> Self {
        // A value that is not UTF-8 is refused with the others that are not visible ASCII.
        let value = |name| env::var_os(name).map(|value| value.to_string_lossy().as_ref().into());
        Self { stytch: value(SECRET), idempotency_url: value(IDEMPOTENCY_URL) }
    }
}

/// How to reach Stytch, unchecked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Stytch")]
pub struct UpstreamArgs {
    /// Project id; decides between the test and the live API. Required, as is the secret, which is
    /// taken from the variable STYTCH_SECRET or from a file
    #[arg(long, env = "STYTCH_PROJECT_ID", hide_env_values = true, value_name = "ID")]
    pub stytch_project_id: Option<String>,

    /// File with the project secret, instead of the variable STYTCH_SECRET
    #[arg(long, env = "STYTCH_SECRET_FILE", hide_env_values = true, value_name = "FILE")]
    pub stytch_secret_file: Option<PathBuf>,

    /// Base URL, when it is not the one that belongs to the project id. https, or http on loopback
    #[arg(long, env = "STYTCH_BASE_URL", hide_env_values = true, value_name = "URL")]
    pub stytch_base_url: Option<String>,

    /// File with authorities, PEM, that are trusted beside the system's, as where a network inspects TLS; read
    /// again when it changes
    #[arg(long, env = "STYTCH_CA_FILE", hide_env_values = true, value_name = "FILE")]
    pub stytch_ca_file: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub timeouts: TimeoutArgs,
}

/// How long to wait for Stytch, unchecked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Stytch")]
pub struct TimeoutArgs {
    /// Time for a whole call to Stytch
    #[arg(
        long,
        env = "TOTP_FACADE_UPSTREAM_TIMEOUT",
        hide_env_values = true,
        default_value = "10s",
        value_name = "TIME"
    )]
    pub upstream_timeout: String,

    /// Time for connecting, out of the above; by default 2s, or all of it where that is less
    #[arg(long, env = "TOTP_FACADE_CONNECT_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    pub connect_timeout: Option<String>,
}

/// How to serve, unchecked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Where to listen for gRPC; port 0 takes a free one
    #[arg(
        long,
        env = "TOTP_FACADE_GRPC_ADDR",
        hide_env_values = true,
        default_value = "127.0.0.1:50051",
        value_name = "IP:PORT"
    )]
    pub grpc_addr: String,

    /// Where to listen for HTTP probes and metrics; port 0 takes a free one
    #[arg(
        long,
        env = "TOTP_FACADE_ADMIN_ADDR",
        hide_env_values = true,
        default_value = "127.0.0.1:9464",
        value_name = "IP:PORT"
    )]
    pub admin_addr: String,

    /// Calls at a time in the process; more are refused at once
    #[arg(
        long,
        env = "TOTP_FACADE_MAX_IN_FLIGHT",
        hide_env_values = true,
        default_value = "1024",
        value_name = "COUNT"
    )]
    pub max_in_flight: String,

    /// Open connections; for more, others are evicted, first those that never made a good call
    #[arg(
        long,
        env = "TOTP_FACADE_MAX_CONNECTIONS",
        hide_env_values = true,
        default_value = "512",
        value_name = "COUNT"
    )]
    pub max_connections: String,

    /// How long a connection is used, those of callers and those to Stytch. A tenth is added or taken at
    /// random; 0s: for as long as it lasts
    #[arg(
        long,
        env = "TOTP_FACADE_MAX_CONNECTION_AGE",
        hide_env_values = true,
        default_value = "10m",
        value_name = "TIME"
    )]
    pub max_connection_age: String,

    /// How long a call with an idempotency key is remembered, from its end
    #[arg(
        long,
        env = "TOTP_FACADE_IDEMPOTENCY_TTL",
        hide_env_values = true,
        default_value = "10m",
        value_name = "TIME"
    )]
    pub idempotency_ttl: String,

    /// What is remembered in memory at most, in bytes; without TOTP_FACADE_IDEMPOTENCY_URL
    #[arg(
        long,
        env = "TOTP_FACADE_IDEMPOTENCY_MAX_BYTES",
        hide_env_values = true,
        default_value = "67108864",
        value_name = "COUNT"
    )]
    pub idempotency_max_bytes: String,

    /// Replicas of Redis that must have the claim of a key before its call is sent
    #[arg(
        long,
        env = "TOTP_FACADE_IDEMPOTENCY_MIN_REPLICAS",
        hide_env_values = true,
        default_value = "0",
        value_name = "COUNT"
    )]
    pub idempotency_min_replicas: String,

    /// Authorities to trust in Redis beside the system's, PEM; read again when it changes
    #[arg(
        long,
        env = "TOTP_FACADE_IDEMPOTENCY_CA_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub idempotency_ca_file: Option<PathBuf>,

    /// Time between saying NOT_SERVING and refusing calls, when asked to stop
    #[arg(
        long,
        env = "TOTP_FACADE_DRAIN_DELAY",
        hide_env_values = true,
        default_value = "2s",
        value_name = "TIME"
    )]
    pub drain_delay: String,

    /// Time for open calls to finish after that
    #[arg(
        long,
        env = "TOTP_FACADE_DRAIN_TIMEOUT",
        hide_env_values = true,
        default_value = "25s",
        value_name = "TIME"
    )]
    pub drain_timeout: String,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub door: DoorArgs,
}

/// Everything that `serve` needs, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach Stytch.
    pub stytch: stytch::Settings,
    /// Where and how to serve.
    pub server: ServerConfig,
}

/// Where and how to serve, checked.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen for gRPC.
    pub grpc_addr: SocketAddr,
    /// Where to listen for HTTP probes.
    pub admin_addr: SocketAddr,
    /// Limits and times.
    pub settings: server::Settings,
    /// What is remembered of calls with a key.
    pub idempotency: idempotency::Settings,
    /// The files of TLS, unless the port is plain.
    pub tls: Option<tls::Files>,
    /// How callers are known, and what they may do.
    pub access: access::Settings,
}

/// A setting that cannot be used. Its text never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable by which the setting is known.
    pub setting: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.what)
    }
}

impl Config {
    /// Checks everything.
    ///
    /// # Errors
    ///
    /// Every problem there is.
    pub fn new(
        upstream: &UpstreamArgs,
        secrets: Secrets,
        server: &ServerArgs,
    ) -> Result<Self, Vec<Problem>> {
        let mut check = Check::default();
        let stytch = check.upstream(upstream, secrets.stytch);
        let server = check.server(server, secrets.idempotency_url);
        check.end(|| {
            let (mut stytch, server) = (stytch?, server?);
            stytch.max_connection_age = server.settings.max_connection_age;
            Some(Self { stytch, server })
        })
    }

    /// The effective settings, one `NAME=value` a line, without secrets.
    pub fn summary(&self) -> String {
        let Self { stytch, server } = self;
        let ServerConfig { grpc_addr, admin_addr, settings, idempotency, .. } = server;
        let unused = || "(not used)".to_owned();
        let (url, max_bytes, min_replicas, ca_file) = match &idempotency.store {
            StoreSettings::Memory { max_bytes } => {
                ("(not set: in memory)".to_owned(), max_bytes.to_string(), unused(), unused())
            }
            StoreSettings::Redis(RedisSettings { url, min_replicas, ca_file }) => (
                idempotency::without_credentials(url),
                unused(),
                min_replicas.to_string(),
                ca_file.as_ref().map_or("(not set)".to_owned(), |path| path.display().to_string()),
            ),
        };
        let stytch_ca = stytch.ca_file.as_ref();
        let stytch_ca = stytch_ca.map_or("(not set)".to_owned(), |path| path.display().to_string());
        let lines: [(&str, &dyn fmt::Display); 18] = [
            ("STYTCH_PROJECT_ID", &stytch.project_id),
            ("STYTCH_SECRET", &"(set, not shown)"),
            ("STYTCH_BASE_URL", &stytch.base_url),
            ("STYTCH_CA_FILE", &stytch_ca),
            ("TOTP_FACADE_UPSTREAM_TIMEOUT", &humantime::format_duration(stytch.timeout)),
            ("TOTP_FACADE_CONNECT_TIMEOUT", &humantime::format_duration(stytch.connect_timeout)),
            ("TOTP_FACADE_GRPC_ADDR", grpc_addr),
            ("TOTP_FACADE_ADMIN_ADDR", admin_addr),
            ("TOTP_FACADE_MAX_IN_FLIGHT", &settings.max_in_flight),
            ("TOTP_FACADE_MAX_CONNECTIONS", &settings.max_connections),
            (
                "TOTP_FACADE_MAX_CONNECTION_AGE",
                &humantime::format_duration(settings.max_connection_age),
            ),
            (IDEMPOTENCY_URL, &url),
            ("TOTP_FACADE_IDEMPOTENCY_MIN_REPLICAS", &min_replicas),
            ("TOTP_FACADE_IDEMPOTENCY_CA_FILE", &ca_file),
            ("TOTP_FACADE_IDEMPOTENCY_MAX_BYTES", &max_bytes),
            ("TOTP_FACADE_IDEMPOTENCY_TTL", &humantime::format_duration(idempotency.ttl)),
            ("TOTP_FACADE_DRAIN_DELAY", &humantime::format_duration(settings.drain_delay)),
            ("TOTP_FACADE_DRAIN_TIMEOUT", &humantime::format_duration(settings.drain_timeout)),
        ];
        let lines = lines.iter().map(|(name, value)| format!("{name}={value}\n"));
        lines.collect::<String>() + &server.door_summary()
    }
}

impl ServerConfig {
    /// Checks the server's part alone, together with the timeouts of calls to Stytch.
    ///
    /// # Errors
    ///
    /// Every problem there is.
    pub fn with_timeouts(
        server: &ServerArgs,
        timeouts: &TimeoutArgs,
        secrets: Secrets,
    ) -> Result<(Self, Timeouts), Vec<Problem>> {
        let mut check = Check::default();
        let server = check.server(server, secrets.idempotency_url);
        let timeouts = check.timeouts(timeouts);
        check.end(|| Some((server?, timeouts?)))
    }
}

/// How long to wait for Stytch, checked.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a whole call.
    pub total: Duration,
    /// For connecting.
    pub connect: Duration,
}

/// Both values, or the problems of both.
///
/// # Errors
///
/// Every problem there is.
pub fn together<A, B>(
    a: Result<A, Vec<Problem>>,
    b: Result<B, Vec<Problem>>,
) -> Result<(A, B), Vec<Problem>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err([a.err(), b.err()].into_iter().flatten().flatten().collect()),
    }
}

/// Checks one address to listen on.
///
/// # Errors
///
/// When it is none.
pub fn listen_addr(setting: &'static str, value: &str) -> Result<SocketAddr, Vec<Problem>> {
    let mut check = Check::default();
    let addr = check.addr(setting, value);
    check.end(|| addr)
}

/// Checks a switch.
///
/// # Errors
///
/// When it is neither on nor off.
pub fn switch(setting: &'static str, value: &str) -> Result<bool, Vec<Problem>> {
    let mut check = Check::default();
    let switch = check.boolean(setting, value);
    check.end(|| switch)
}

/// Reads a time with its unit. A clock has room for it.
///
/// # Errors
///
/// What is wrong with it.
pub fn duration(value: &str) -> Result<Duration, String> {
    match humantime::parse_duration(value) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) => Err(format!("{value:?} is longer than a year")),
        Err(_) => Err(format!("{value:?} is not a time, for instance 10s")),
    }
}

/// Collects problems. Each method returns a value, or none after reporting why.
#[derive(Default)]
struct Check(Vec<Problem>);

impl Check {
    fn end<T>(self, value: impl FnOnce() -> Option<T>) -> Result<T, Vec<Problem>> {
        if self.0.is_empty() { value().ok_or(self.0) } else { Err(self.0) }
    }

    fn problem<T>(&mut self, setting: &'static str, what: impl Into<String>) -> Option<T> {
        self.0.push(Problem { setting, what: what.into() });
        None
    }

    fn upstream(
        &mut self,
        args: &UpstreamArgs,
        secret: Option<SecretString>,
    ) -> Option<stytch::Settings> {
        let project_id = self.project_id(args.stytch_project_id.as_deref());
        let secret = self.secret(secret, args.stytch_secret_file.as_ref());
        let base_url = match &args.stytch_base_url {
            Some(url) => self.base_url(url),
            None => project_id.as_deref().map(default_base_url),
        };
        let ca_file = args.stytch_ca_file.clone();
        self.file("STYTCH_CA_FILE", ca_file.as_deref(), pem::check_authorities);
        let Timeouts { total, connect } = self.timeouts(&args.timeouts)?;
        Some(stytch::Settings {
            base_url: base_url?,
            project_id: project_id?,
            secret: secret?,
            secret_file: args.stytch_secret_file.clone(),
            ca_file,
            timeout: total,
            connect_timeout: connect,
            // The server's, once that is checked.
            max_connection_age: Duration::ZERO,
        })
    }

    fn project_id(&mut self, value: Option<&str>) -> Option<String> {
        const SETTING: &str = "STYTCH_PROJECT_ID";
        match value {
            None | Some("") => self.problem(SETTING, "is required"),
            // HTTP Basic ends the user name at the first colon.
            Some(id) if !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') => {
                self.problem(SETTING, "must be visible ASCII without blanks and colons")
            }
            Some(id) => Some(id.to_owned()),
        }
    }

    fn secret(
        &mut self,
        value: Option<SecretString>,
        file: Option<&PathBuf>,
    ) -> Option<SecretString> {
        const FILE: &str = "STYTCH_SECRET_FILE";
        let value = value.filter(|value| !value.expose_secret().is_empty());
        let (setting, secret) = match (value, file) {
            (Some(_), Some(_)) => {
                return self.problem(FILE, "must not be set together with STYTCH_SECRET");
            }
            (None, None) => {
                return self.problem(SECRET, "is required (or STYTCH_SECRET_FILE)");
            }
            (Some(secret), None) => (SECRET, stytch::check_secret(secret)),
            (None, Some(path)) => (FILE, stytch::read_secret(path)),
        };
        secret.map_err(|what| self.problem::<()>(setting, what)).ok()
    }

    fn base_url(&mut self, value: &str) -> Option<Url> {
        const SETTING: &str = "STYTCH_BASE_URL";
        let Ok(url) = Url::parse(value) else {
            return self.problem(SETTING, "is not a URL");
        };
        // A URL may hold a password, so no problem quotes it.
        if !url.username().is_empty() || url.password().is_some() {
            self.problem(SETTING, "must not hold credentials")
        } else if url.query().is_some() || url.fragment().is_some() {
            self.problem(SETTING, "must not have a query or a fragment")
        } else if is_confidential(&url) {
            Some(url)
        } else {
            self.problem(SETTING, "must be https (http only on loopback)")
        }
    }

    fn timeouts(&mut self, args: &TimeoutArgs) -> Option<Timeouts> {
        const CONNECT: &str = "TOTP_FACADE_CONNECT_TIMEOUT";
        let total = self.timeout("TOTP_FACADE_UPSTREAM_TIMEOUT", &args.upstream_timeout);
        let connect = match &args.connect_timeout {
            Some(connect) => self.timeout(CONNECT, connect),
            // A default must not conflict with what an operator has set.
            None => total.map(|total| total.min(CONNECT_TIMEOUT)),
        };
        let (total, connect) = (total?, connect?);
        if connect > total {
            return self.problem(CONNECT, "must not exceed TOTP_FACADE_UPSTREAM_TIMEOUT");
        }
        Some(Timeouts { total, connect })
    }

    fn server(
        &mut self,
        args: &ServerArgs,
        idempotency_url: Option<SecretString>,
    ) -> Option<ServerConfig> {
        let grpc_addr = self.addr("TOTP_FACADE_GRPC_ADDR", &args.grpc_addr);
        let admin_addr = self.addr("TOTP_FACADE_ADMIN_ADDR", &args.admin_addr);
        let max_in_flight = self.count("TOTP_FACADE_MAX_IN_FLIGHT", &args.max_in_flight);
        let max_connections = self.count("TOTP_FACADE_MAX_CONNECTIONS", &args.max_connections);
        let max_connection_age =
            self.duration("TOTP_FACADE_MAX_CONNECTION_AGE", &args.max_connection_age);
        let drain_delay = self.duration("TOTP_FACADE_DRAIN_DELAY", &args.drain_delay);
        let drain_timeout = self.duration("TOTP_FACADE_DRAIN_TIMEOUT", &args.drain_timeout);
        let idempotency = self.idempotency(args, idempotency_url);
        let door = self.door(&args.door, grpc_addr);
        let reflection = self.reflection(&args.door, grpc_addr);
        let settings = server::Settings {
            reflection: reflection?,
            max_in_flight: max_in_flight?,
            max_connections: max_connections?,
            max_connection_age: max_connection_age?,
            drain_delay: drain_delay?,
            drain_timeout: drain_timeout?,
        };
        Some(ServerConfig {
            grpc_addr: grpc_addr?,
            admin_addr: admin_addr?,
            settings,
            idempotency: idempotency?,
            tls: door.0,
            access: door.1,
        })
    }

    fn idempotency(
        &mut self,
        args: &ServerArgs,
        url: Option<SecretString>,
    ) -> Option<idempotency::Settings> {
        let ttl = self.timeout("TOTP_FACADE_IDEMPOTENCY_TTL", &args.idempotency_ttl);
        let max_bytes = self.max_bytes(&args.idempotency_max_bytes);
        let store = match url.filter(|url| !url.expose_secret().is_empty()) {
            None => self
                .no_redis(args)
                .and(max_bytes)
                .map(|max_bytes| StoreSettings::Memory { max_bytes }),
            Some(url) => self.redis(args, url).map(StoreSettings::Redis),
        };
        let store = store?;
        Some(idempotency::Settings { ttl: ttl?, store })
    }

    fn max_bytes(&mut self, value: &str) -> Option<u64> {
        // Room for several of the largest answers that are read.
        const LEAST: u64 = 4 * 1024 * 1024;
        value.parse().ok().filter(|bytes| *bytes >= LEAST).or_else(|| {
            let what = format!("{value:?} is not a number of at least {LEAST}");
            self.problem("TOTP_FACADE_IDEMPOTENCY_MAX_BYTES", what)
        })
    }

    /// What is for Redis alone must not be taken for a promise without it.
    fn no_redis(&mut self, args: &ServerArgs) -> Option<()> {
        const WHAT: &str = "needs TOTP_FACADE_IDEMPOTENCY_URL";
        let no_replicas = match self.min_replicas(&args.idempotency_min_replicas)? {
            0 => Some(()),
            _ => self.problem(MIN_REPLICAS, WHAT),
        };
        match args.idempotency_ca_file {
            None => no_replicas,
            Some(_) => self.problem(REDIS_CA_FILE, WHAT),
        }
    }

    fn redis(&mut self, args: &ServerArgs, url: SecretString) -> Option<RedisSettings> {
        let url = self.redis_url(url);
        let min_replicas = self.min_replicas(&args.idempotency_min_replicas);
        let ca_file = args.idempotency_ca_file.clone();
        let problem = match (&ca_file, &url) {
            (Some(_), Some(url)) if !idempotency::is_tls(url) => {
                Some("needs a TOTP_FACADE_IDEMPOTENCY_URL with rediss".to_owned())
            }
            (Some(path), _) => pem::check_authorities(path).err(),
            (None, _) => None,
        };
        if let Some(what) = problem {
            return self.problem(REDIS_CA_FILE, what);
        }
        Some(RedisSettings { url: url?, min_replicas: min_replicas?, ca_file })
    }

    fn min_replicas(&mut self, value: &str) -> Option<u8> {
        value.parse().ok().or_else(|| {
            self.problem(MIN_REPLICAS, format!("{value:?} is not a number from 0 to {}", u8::MAX))
        })
    }

    fn redis_url(&mut self, value: SecretString) -> Option<SecretString> {
        match idempotency::check_url(&value) {
            Err(what) => self.problem(IDEMPOTENCY_URL, what),
            Ok(()) => Some(value),
        }
    }

    fn addr(&mut self, setting: &'static str, value: &str) -> Option<SocketAddr> {
        value.parse().ok().or_else(|| {
            self.problem(setting, format!("{value:?} is not IP:PORT, for instance 127.0.0.1:50051"))
        })
    }

    fn count(&mut self, setting: &'static str, value: &str) -> Option<usize> {
        // The upper bound is the largest that a semaphore takes.
        let range = 1..=tokio::sync::Semaphore::MAX_PERMITS;
        value
            .parse()
            .ok()
            .filter(|count| range.contains(count))
            .or_else(|| self.problem(setting, format!("{value:?} is not a number of at least 1")))
    }

    fn timeout(&mut self, setting: &'static str, value: &str) -> Option<Duration> {
        match self.duration(setting, value)? {
            Duration::ZERO => self.problem(setting, "must be longer than 0"),
            duration => Some(duration),
        }
    }

    fn duration(&mut self, setting: &'static str, value: &str) -> Option<Duration> {
        duration(value).map_err(|what| self.problem::<()>(setting, what)).ok()
    }

    fn boolean(&mut self, setting: &'static str, value: &str) -> Option<bool> {
        value
            .parse()
            .ok()
            .or_else(|| self.problem(setting, format!("{value:?} is neither true nor false")))
    }
}

/// Stytch has one API for live projects and one for all others.
fn default_base_url(project_id: &str) -> Url {
    let url = match project_id.starts_with("project-live-") {
        true => "https://api.stytch.com",
        false => "https://test.stytch.com",
    };
    Url::parse(url).expect("a constant URL")
}
