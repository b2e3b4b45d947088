//! `serve`, `dev` and `sandbox`: processes that run until they are told to stop.

use std::{io, net::SocketAddr, path::PathBuf};

use clap::Args;
use secrecy::SecretString;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};

use super::{exit, failure::Failure, output::print};
use crate::{
    config::{
        self, Config, Problem, Secrets, ServerArgs, ServerConfig, TimeoutArgs, Timeouts,
        UpstreamArgs,
    },
    facade,
    sandbox::{Sandbox, Seed},
    server::Listeners,
    stytch,
    telemetry::metrics::Metrics,
};

const SANDBOX_ADDR: &str = "TOTP_FACADE_SANDBOX_ADDR";
const SANDBOX_CONTROL: &str = "TOTP_FACADE_SANDBOX_CONTROL";
/// Connections that may wait to be accepted; the system may allow fewer. The runtime's default of 128 is less than
/// what a proxy opens at once, and those that overflow it are reset.
const BACKLOG: u32 = 4096;
pub(super) const SANDBOX_DEFAULT: &str = "127.0.0.1:8090";

#[derive(Args, Debug)]
pub(super) struct DevArgs {
    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    timeouts: TimeoutArgs,

    #[command(flatten)]
    sandbox: SandboxArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Sandbox")]
pub(super) struct SandboxArgs {
    /// Where the sandbox listens; by default 127.0.0.1:8090, and a free port under `dev`
    #[arg(long, env = SANDBOX_ADDR, hide_env_values = true, value_name = "IP:PORT")]
    sandbox_addr: Option<String>,

    /// Organizations and members of your own instead of the built-in ones (docs/sandbox.md)
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,

    /// Open /sandbox/ on the sandbox, for faults and for time at run time (docs/sandbox.md). Whoever
    /// reaches the port can use it
    #[arg(
        long,
        env = SANDBOX_CONTROL,
        hide_env_values = true,
        value_name = "BOOL",
        default_value = "false",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    sandbox_control: String,
}

impl DevArgs {
    /// The server, its patience with the sandbox, where the sandbox listens and what it starts with.
    #[allow(clippy::type_complexity)]
    pub(super) fn check(
        &self,
    ) -> Result<((ServerConfig, Timeouts), (SocketAddr, Seed)), Vec<Problem>> {
        let secrets = Secrets::from_env();
        let server = ServerConfig::with_timeouts(&self.server, &self.timeouts, secrets);
        config::together(server, self.sandbox.check("127.0.0.1:0"))
    }
}

impl SandboxArgs {
    /// Where to listen and what to start with.
    pub(super) fn check(&self, default_addr: &str) -> Result<(SocketAddr, Seed), Vec<Problem>> {
        let addr = self.sandbox_addr.as_deref().unwrap_or(default_addr);
        let seed = match &self.seed {
            None => Ok(Seed::embedded()),
            Some(path) => Seed::read(path)
                .map_err(|error| vec![Problem { setting: "--seed", what: error.to_string() }]),
        };
        let control = config::switch(SANDBOX_CONTROL, &self.sandbox_control);
        let addr = config::together(config::listen_addr(SANDBOX_ADDR, addr), control);
        config::together(addr.map(|(addr, _)| addr), seed)
    }

    fn sandbox(&self, seed: Seed) -> Sandbox {
        let sandbox = Sandbox::new(seed);
        if self.sandbox_control == "true" { sandbox.with_control() } else { sandbox }
    }
}

pub(super) fn serve(upstream: &UpstreamArgs, server: &ServerArgs) -> Result<(), Failure> {
    let config = Config::new(upstream, Secrets::from_env(), server)?;
    forbid_core_dumps();
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listeners = listen(&config.server)?;
        warn_of_open_doors(&config.server);
        let announce = announcement(&listeners)?;
        let serving = || {
            let (version, base_url) = (env!("CARGO_PKG_VERSION"), config.stytch.base_url.as_str());
            tracing::info!(version, base_url, "serving");
            // Nobody may be listening, and that is no reason not to serve.
            let _ = print(&announce);
        };
        facade(listeners, &config.server, &config.stytch, serving, stop).await
    })
}

pub(super) fn dev(args: &DevArgs) -> Result<(), Failure> {
    let ((config, timeouts), (sandbox_addr, seed)) = args.check()?;
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listeners = listen(&config)?;
        let listener = bind("sandbox", sandbox_addr)?;
        let stytch = sandboxed(addr_of(&listener)?, &seed, timeouts, &config);
        let announce = announcement(&listeners)? + &listening("sandbox", &listener)?;
        let hints = dev_hints(&seed, addr_of(&listeners.grpc)?);
        let serving = || {
            let _ = print(&(announce + &hints));
        };
        tokio::select! {
            result = args.sandbox.sandbox(seed).run(listener, std::future::pending()) => {
                result.map_err(|error| Failure::run(&error))
            }
            result = facade(listeners, &config, &stytch, serving, stop) => result,
        }
    })
}

pub(super) fn sandbox(args: &SandboxArgs) -> Result<(), Failure> {
    let (addr, seed) = args.check(SANDBOX_DEFAULT)?;
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listener = bind("sandbox", addr)?;
        print(&format!(
            "{}STYTCH_PROJECT_ID={}\nSTYTCH_SECRET={}\n{}",
            listening("sandbox", &listener)?,
            seed.project.project_id,
            seed.project.secret,
            members(&seed)
        ))?;
        args.sandbox(seed).run(listener, stop).await.map_err(|error| Failure::run(&error))
    })
}

/// Serves until `stop`. `serving` is called once everything is loaded and calls are answered.
async fn facade(
    listeners: Listeners,
    config: &ServerConfig,
    stytch: &stytch::Settings,
    serving: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let settings = facade::Settings {
        stytch: stytch.clone(),
        idempotency: config.idempotency.clone(),
        tls: config.tls.clone(),
        access: config.access.clone(),
        server: config.settings.clone(),
    };
    let server = facade::build(&settings, Metrics::default());
    let stop = async {
        serving();
        stop.await;
    };
    let server = server.map_err(|error| Failure::run(&error))?;
    server.run(listeners, stop).await.map_err(|error| Failure::run(&error))
}

fn warn_of_open_doors(config: &ServerConfig) {
    if config.grpc_addr.ip().is_loopback() {
        return;
    }
    if !config.access.authenticates() {
        tracing::warn!("--allow-unauthenticated: whoever reaches the port may call everything");
    } else if config.tls.is_none() {
        tracing::warn!(
            "tokens travel in the clear: set TOTP_FACADE_TLS_CERT_FILE, or have a proxy do TLS"
        );
    }
}

/// The settings by which the façade reaches the sandbox.
fn sandboxed(
    addr: SocketAddr,
    seed: &Seed,
    timeouts: Timeouts,
    server: &ServerConfig,
) -> stytch::Settings {
    stytch::Settings {
        base_url: format!("http://{addr}").parse().expect("an address makes a URL"),
        project_id: seed.project.project_id.clone(),
        secret: SecretString::from(seed.project.secret.clone()),
        secret_file: None,
        ca_file: None,
        timeout: timeouts.total,
        connect_timeout: timeouts.connect,
        max_connection_age: server.settings.max_connection_age,
    }
}

fn listen(config: &ServerConfig) -> Result<Listeners, Failure> {
    Ok(Listeners {
        grpc: bind("grpc", config.grpc_addr)?,
        admin: bind("admin", config.admin_addr)?,
    })
}

fn bind(what: &str, addr: SocketAddr) -> Result<TcpListener, Failure> {
    let listen = || {
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // As the runtime does it for a listener of its own.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error: io::Error| {
        Failure::Run(format!("cannot listen for {what} on {addr}: {error}"))
    })
}

/// Where the façade listens, in a form that a script can read.
fn announcement(listeners: &Listeners) -> Result<String, Failure> {
    Ok(listening("grpc", &listeners.grpc)? + &listening("admin", &listeners.admin)?)
}

fn listening(what: &str, listener: &TcpListener) -> Result<String, Failure> {
    Ok(format!("{what} listening on {}\n", addr_of(listener)?))
}

fn addr_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::run(&error))
}

/// Calls to paste, for what the sandbox was seeded with.
fn dev_hints(seed: &Seed, grpc: SocketAddr) -> String {
    let organization = seed.organization();
    // The client's own default needs no flag.
    let addr = match grpc.to_string().as_str() {
        "127.0.0.1:50051" => String::new(),
        addr => format!("--addr http://{addr} "),
    };
    // As it was started: cargo sets this variable for what it runs.
    let program = match (std::env::var_os("CARGO"), std::env::args().next()) {
        (Some(_), _) if cfg!(debug_assertions) => "cargo run --".to_owned(),
        (Some(_), _) => "cargo run --release --".to_owned(),
        (None, program) => program.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned()),
    };
    let Some((member, _)) = seed.members().next() else {
        return members(seed);
    };
    format!(
        "\nTry:\n  \
         {program} create {addr}--organization-id {organization} --member-id {member}\n  \
         {program} authenticate {addr}--organization-id {organization} --member-id {member} \
         --intermediate-session-token sandbox-login.{member} --code CODE\n  \
         grpcurl -plaintext -d '{{\"organization_id\":\"{organization}\",\"member_id\":\"{member}\"}}' \
         {grpc} stytch.b2b.totp.v1.TotpService/Create\n\n{}",
        members(seed)
    )
}

fn members(seed: &Seed) -> String {
    let mut text = format!("Members of {}:\n", seed.organization());
    for (id, name) in seed.members() {
        text += &format!("  {id:<16}{name}\n");
    }
    text
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Runtime::new().map_err(|error| Failure::run(&error))
}

/// Keeps the secrets in memory out of core files, and of the hands of debuggers of the same user.
#[cfg(target_os = "linux")]
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // The limit says nothing to a handler that cores are piped to; the behaviour does.
    let forbidden = setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = forbidden {
        tracing::warn!(%error, "a crash may leave a core file with secrets in it");
    }
}

#[cfg(not(target_os = "linux"))]
fn forbid_core_dumps() {}

/// Ends at the first signal to stop; the second one ends the process. Signals are heard from now on.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let mut signals = Signals::new().map_err(|error| Failure::run(&error))?;
    let (stop, mut stopped) = watch::channel(false);
    tokio::spawn(async move {
        signals.next().await;
        stop.send_replace(true);
        signals.next().await;
        tracing::error!("stopped by a second signal; open calls are cut");
        std::process::exit(exit::FAILURE.into());
    });
    Ok(async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    })
}

/// The signals that ask a process to stop.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signals that ask a process to stop.
#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
