//! `serve`, `dev` and `sandbox`: processes that run until they are told to stop.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use secrecy::SecretString;
use tokio::{net::TcpListener, sync::watch};

use super::{Failure, print, runtime, secret};
use crate::{
    config::{
        self, Config, Problem, ServerArgs, ServerConfig, TimeoutArgs, Timeouts, UpstreamArgs,
        is_private,
    },
    sandbox::{self, Seed},
    server::{self, Listeners},
    service::Services,
    stytch::{self, Client},
};

const SANDBOX_ADDR: &str = "TOTP_FACADE_SANDBOX_ADDR";

#[derive(Args, Debug)]
pub(super) struct DevArgs {
    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    timeouts: TimeoutArgs,

    /// Where the sandbox listens; a free port by default
    #[arg(
        long,
        env = SANDBOX_ADDR,
        hide_env_values = true,
        default_value = "127.0.0.1:0",
        value_name = "IP:PORT",
        help_heading = "Sandbox"
    )]
    sandbox_addr: String,

    #[command(flatten)]
    seed: SeedArgs,
}

#[derive(Args, Debug)]
pub(super) struct SandboxArgs {
    /// Where the sandbox listens; port 0 takes a free one
    #[arg(
        long,
        env = SANDBOX_ADDR,
        hide_env_values = true,
        default_value = "127.0.0.1:8090",
        value_name = "IP:PORT",
        help_heading = "Sandbox"
    )]
    sandbox_addr: String,

    #[command(flatten)]
    seed: SeedArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Sandbox")]
struct SeedArgs {
    /// Organizations and members of your own instead of the built-in ones (docs/sandbox.md)
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
}

impl SeedArgs {
    fn read(&self) -> Result<Seed, Failure> {
        match &self.seed {
            None => Ok(Seed::embedded()),
            Some(path) => Seed::read(path).map_err(|error| {
                Failure::Settings(vec![Problem { setting: "--seed", what: error.to_string() }])
            }),
        }
    }
}

pub(super) fn serve(upstream: &UpstreamArgs, server: &ServerArgs) -> Result<(), Failure> {
    let config = Config::new(upstream, secret(), server)?;
    runtime()?.block_on(async {
        let listeners = listen(&config.server).await?;
        if !is_private(config.server.grpc_addr) {
            tracing::warn!("listening beyond loopback, and any caller is served");
        }
        facade(listeners, &config.server, &config.stytch, stop_signal()).await
    })
}

pub(super) fn dev(args: &DevArgs) -> Result<(), Failure> {
    let (config, timeouts) = ServerConfig::with_timeouts(&args.server, &args.timeouts)?;
    let sandbox_addr = config::listen_addr(SANDBOX_ADDR, &args.sandbox_addr)?;
    let seed = args.seed.read()?;
    runtime()?.block_on(async {
        let listeners = listen(&config).await?;
        let sandbox = bind("sandbox", sandbox_addr).await?;
        let stytch = sandboxed(addr_of(&sandbox)?, &seed, timeouts);
        let grpc_addr = addr_of(&listeners.grpc)?;
        print(&dev_hints(&seed, grpc_addr));
        let stopped = stop_signal();
        tokio::select! {
            result = sandbox::run(sandbox, seed, std::future::pending()) => {
                result.map_err(|error| Failure::run(&error))
            }
            result = facade(listeners, &config, &stytch, stopped) => result,
        }
    })
}

pub(super) fn sandbox(args: &SandboxArgs) -> Result<(), Failure> {
    let addr = config::listen_addr(SANDBOX_ADDR, &args.sandbox_addr)?;
    let seed = args.seed.read()?;
    runtime()?.block_on(async {
        let listener = bind("sandbox", addr).await?;
        print(&format!(
            "STYTCH_PROJECT_ID={}\nSTYTCH_SECRET={}\n{}",
            seed.project.project_id,
            seed.project.secret,
            members(&seed)
        ));
        let stopped = stop_signal();
        sandbox::run(listener, seed, stopped).await.map_err(|error| Failure::run(&error))
    })
}

async fn facade(
    listeners: Listeners,
    config: &ServerConfig,
    stytch: &stytch::Settings,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let client = Client::new(stytch).map_err(|error| Failure::run(&error))?;
    server::run(listeners, &config.settings, Services::new(&client), stop)
        .await
        .map_err(|error| Failure::run(&error))
}

/// The settings by which the façade reaches the sandbox.
fn sandboxed(addr: SocketAddr, seed: &Seed, timeouts: Timeouts) -> stytch::Settings {
    stytch::Settings {
        base_url: format!("http://{addr}").parse().expect("an address makes a URL"),
        project_id: seed.project.project_id.clone(),
        secret: SecretString::from(seed.project.secret.clone()),
        timeout: timeouts.total,
        connect_timeout: timeouts.connect,
    }
}

async fn listen(config: &ServerConfig) -> Result<Listeners, Failure> {
    Ok(Listeners {
        grpc: bind("grpc", config.grpc_addr).await?,
        admin: bind("admin", config.admin_addr).await?,
    })
}

/// Binds, and says so in a form that a script can read.
async fn bind(what: &str, addr: SocketAddr) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|error| Failure::Run(format!("cannot listen for {what} on {addr}: {error}")))?;
    print(&format!("{what} listening on {}\n", addr_of(&listener)?));
    Ok(listener)
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
    let Some((member, _)) = seed.members().next() else {
        return members(seed);
    };
    format!(
        "\nTry:\n  \
         cargo run --release -- create {addr}--organization-id {organization} --member-id {member}\n  \
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

/// Ends at the first signal to stop. The second one ends the process.
fn stop_signal() -> impl Future<Output = ()> {
    let (stop, mut stopped) = watch::channel(false);
    tokio::spawn(async move {
        signal().await;
        stop.send_replace(true);
        signal().await;
        tracing::error!("stopped by a second signal; open calls are cut");
        std::process::exit(super::FAILURE.into());
    });
    async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};

    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for signals");
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
async fn signal() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "cannot listen for signals");
        std::future::pending().await
    }
}
