//! `serve`, `dev` and `sandbox`: the subcommands that run until a signal stops them.

use std::{io, net::SocketAddr, sync::mpsc, thread, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{Builder, Runtime},
    sync::watch,
};

use super::{exit, failure::Failure, output::print};
use crate::{
    config::{Config, DevConfig, SandboxConfig, sandbox_url},
    facade, otlp,
    sandbox::{Sandbox, Seed},
    server::Listeners,
    telemetry::{self, metrics::Metrics},
};

/// The length of the queue of connections that wait to be accepted; the system may allow less. The
/// runtime's default of 128 is less than what a proxy opens at once, and the rest is reset.
const BACKLOG: u32 = 4096;

pub(super) fn serve(config: Config) -> Result<(), Failure> {
    forbid_core_dumps();
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listeners = listen(&config)?;
        warn_if_exposed(&config);
        let announce = announcement(&listeners)?;
        let serving = || {
            let base_url = config.facade.stytch.base_url.as_str();
            tracing::info!(version = env!("CARGO_PKG_VERSION"), base_url, "serving");
            // A closed standard output is no reason not to serve.
            let _ = print(&announce);
        };
        run(listeners, &config.facade, serving, stop).await
    })
}

pub(super) fn dev(DevConfig { mut config, sandbox }: DevConfig) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listeners = listen(&config)?;
        let listener = bind("sandbox", sandbox.addr)?;
        config.facade.stytch.base_url = sandbox_url(addr_of(&listener)?);
        let announce = announcement(&listeners)? + &listening("sandbox", &listener)?;
        let hints = dev_hints(&sandbox.seed, addr_of(&listeners.grpc)?);
        let serving = || {
            let _ = print(&(announce + &hints));
        };
        tokio::select! {
            result = start(sandbox).run(listener, std::future::pending()) => {
                result.map_err(|error| Failure::run(&error))
            }
            result = run(listeners, &config.facade, serving, stop) => result,
        }
    })
}

pub(super) fn sandbox(config: SandboxConfig) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let stop = stop_signal()?;
        let listener = bind("sandbox", config.addr)?;
        let seed = &config.seed;
        print(&format!(
            "{}STYTCH_PROJECT_ID={}\nSTYTCH_SECRET={}\n{}",
            listening("sandbox", &listener)?,
            seed.project.project_id,
            seed.project.secret,
            members(seed)
        ))?;
        start(config).run(listener, stop).await.map_err(|error| Failure::run(&error))
    })
}

fn start(config: SandboxConfig) -> Sandbox {
    let sandbox = Sandbox::new(config.seed);
    if config.control { sandbox.with_control() } else { sandbox }
}

/// Serves until `stop`. Calls `serving` once everything is loaded and calls are answered.
async fn run(
    listeners: Listeners,
    settings: &facade::Settings,
    serving: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let server = facade::build(settings, Metrics::default());
    let stop = async {
        serving();
        stop.await;
    };
    let server = server.map_err(|error| Failure::run(&error))?;
    server.run(listeners, stop).await.map_err(|error| Failure::run(&error))
}

/// Warns of settings that are allowed beyond loopback but leave something open.
fn warn_if_exposed(config: &Config) {
    if config.facade.traces.as_ref().is_some_and(otlp::Settings::exposes_headers) {
        tracing::warn!("OTEL_EXPORTER_OTLP_HEADERS travel in the clear");
    }
    if config.grpc_addr.ip().is_loopback() {
        return;
    }
    if !config.facade.access.authenticates() {
        tracing::warn!("--allow-unauthenticated: anyone who reaches the port may call everything");
    } else if config.facade.tls.is_none() {
        tracing::warn!(
            "tokens travel in the clear: set TOTP_FACADE_TLS_CERT_FILE, or have a proxy do TLS"
        );
    }
}

fn listen(config: &Config) -> Result<Listeners, Failure> {
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
        // As `TcpListener::bind` does, so that a restart need not wait.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error: io::Error| {
        Failure::Run(format!("cannot listen for {what} on {addr}: {error}"))
    })
}

/// Says where the façade listens, in a form that scripts can read.
fn announcement(listeners: &Listeners) -> Result<String, Failure> {
    Ok(listening("grpc", &listeners.grpc)? + &listening("admin", &listeners.admin)?)
}

fn listening(what: &str, listener: &TcpListener) -> Result<String, Failure> {
    Ok(format!("{what} listening on {}\n", addr_of(listener)?))
}

fn addr_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::run(&error))
}

/// Returns commands to paste, for the members of the sandbox.
fn dev_hints(seed: &Seed, grpc: SocketAddr) -> String {
    let organization = seed.organization();
    // The default address needs no flag.
    let addr = match grpc.to_string().as_str() {
        "127.0.0.1:50051" => String::new(),
        addr => format!("--addr http://{addr} "),
    };
    // `cargo run` sets this variable.
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

/// Returns the runtime of the main thread. What it has to do besides accepting connections is
/// little; the server starts threads for the connections where there are CPUs for them.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| Failure::run(&error))
}

/// Keeps secrets in memory out of core files, and away from debuggers of the same user.
#[cfg(target_os = "linux")]
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A handler that cores are piped to ignores the limit, but not the behaviour.
    let forbidden = setrlimit(Resource::Core, none)
        .and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = forbidden {
        tracing::warn!(%error, "a crash may leave a core file with secrets in it");
    }
}

#[cfg(not(target_os = "linux"))]
fn forbid_core_dumps() {}

/// Returns a future that ends at the first signal to stop. A second signal ends the process.
/// Signals are caught from the call on, before the future is polled, on a thread of their own:
/// every other thread may wait for the disk that standard error is on.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let (stop, mut stopped) = watch::channel(false);
    let (started, has_started) = mpsc::channel();
    let catch = move || {
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(failure) => return drop(started.send(Err(failure))),
        };
        runtime.block_on(async {
            let signals = Signals::new().map_err(|error| Failure::run(&error));
            let mut signals = match signals {
                Ok(signals) => signals,
                Err(failure) => return drop(started.send(Err(failure))),
            };
            let _ = started.send(Ok(()));
            signals.next().await;
            stop.send_replace(true);
            signals.next().await;
            exit_at_once();
        });
    };
    let thread = thread::Builder::new().name("signals".to_owned()).spawn(catch);
    thread.map_err(|error| Failure::run(&error))?;
    has_started.recv().map_err(|error| Failure::run(&error))??;
    Ok(async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    })
}

/// How long a process that ends at once may take to say so.
const LAST_WORDS: Duration = Duration::from_millis(200);

fn exit_at_once() -> ! {
    let (said, is_said) = mpsc::channel();
    thread::spawn(move || {
        tracing::error!("stopped by a second signal; open calls are cut");
        let _ = said.send(telemetry::flush());
    });
    let _ = is_said.recv_timeout(LAST_WORDS);
    std::process::exit(exit::FAILURE.into())
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
        use rustix::process::Signal;
        use tokio::signal::unix::{SignalKind, signal};

        // Once it is caught, a write beyond the limit on a file's size fails. Otherwise it would
        // end the process, for standard error may be such a file.
        drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
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
