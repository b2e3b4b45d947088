//! `serve`, `dev` and `sandbox`: the subcommands that run until a signal stops them.

use std::future::pending;

use super::{
    certificate, console,
    failure::Failure,
    hints::{hints, members},
    listen::{addr_of, bind, listen, listening, url_of},
    output::print,
    permissions::{self, Checks, Permissions},
    runtime,
    service_manager::{self, Inherited},
    signals::stop_signal,
};
use crate::{
    address::Address,
    config::{Config, ConsoleConfig, DevConfig, SandboxConfig, sandbox_url},
    facade,
    files::Reloaded,
    otlp,
    sandbox::Sandbox,
    server::Listeners,
    telemetry::metrics::Metrics,
};

pub(super) fn serve(config: Config) -> Result<(), Failure> {
    let inherited = Inherited::new()?;
    forbid_core_dumps();
    runtime::wait_for(async {
        let stop = stop_signal()?;
        let listeners = listen(&config.addresses, inherited).await?;
        warn_if_exposed(&config);
        warn_of_ignored(&config);
        let announce = announcement(&listeners)?;
        let serving = |_: Checks| {
            let base_url = config.facade.stytch.base_url.as_str();
            tracing::info!(version = env!("CARGO_PKG_VERSION"), base_url, "serving");
            // A closed standard output is no reason not to serve.
            let _ = print(&announce);
        };
        run(listeners, &config.facade, serving, stop).await
    })?
}

pub(super) fn dev(dev: DevConfig) -> Result<(), Failure> {
    let DevConfig { mut config, sandbox, console: ConsoleConfig { addr, mut client } } = dev;
    let inherited = Inherited::new()?;
    runtime::wait_for(async {
        let stop = stop_signal()?;
        let listeners = listen(&config.addresses, inherited).await?;
        let listener = bind("sandbox", sandbox.addr)?;
        let page_listener = bind("console", addr)?;
        warn_of_ignored(&config);
        config.facade.stytch.base_url = sandbox_url(addr_of(&listener)?);
        let announce = announcement(&listeners)?
            + &listening("sandbox", &Address::Tcp(addr_of(&listener)?))
            + &console::announcement(&page_listener)?;
        warn_if_exposed(&config);
        let seed = sandbox.seed.clone();
        client.url = url_of(address_of(&listeners)?, config.facade.tls.as_ref());
        let sandbox = start(sandbox);
        let page = console::of(client.clone(), Some((seed.clone(), sandbox.authenticator())))?;
        let from = permissions::caller_of(&address_of(&listeners)?);
        let serving = |checks: Checks| {
            let facade = &config.facade;
            let content = checks.tls.as_ref().map(Reloaded::get);
            let tls = facade.tls.as_ref().zip(content.as_deref());
            let permissions = match certificate::refusal(&client, tls) {
                Some(why) => Err(why),
                None => Permissions::of(&client, from, &facade.access, &checks),
            };
            let hints = hints(&seed, &client, permissions, facade.server.reflection);
            let _ = print(&(announce + &hints));
        };
        tokio::select! {
            result = sandbox.run(listener, pending()) => {
                result.map_err(|error| Failure::run(&error))
            }
            result = console::run(page, page_listener, pending()) => result,
            result = run(listeners, &config.facade, serving, stop) => result,
        }
    })?
}

pub(super) fn sandbox(config: SandboxConfig) -> Result<(), Failure> {
    runtime::wait_for(async {
        let stop = stop_signal()?;
        let listener = bind("sandbox", config.addr)?;
        let seed = &config.seed;
        print(&format!(
            "{}STYTCH_PROJECT_ID={}\nSTYTCH_SECRET={}\n{}",
            listening("sandbox", &Address::Tcp(addr_of(&listener)?)),
            seed.project.project_id,
            seed.project.secret,
            members(seed)
        ))?;
        start(config).run(listener, stop).await.map_err(|error| Failure::run(&error))
    })?
}

fn start(config: SandboxConfig) -> Sandbox {
    let sandbox = Sandbox::new(config.seed);
    if config.control { sandbox.with_control() } else { sandbox }
}

/// Serves until `stop`. Calls `serving` once everything is loaded and calls are answered.
async fn run(
    listeners: Listeners,
    settings: &facade::Settings,
    serving: impl FnOnce(Checks),
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let server = facade::build(settings, Metrics::default());
    let mut server = server.map_err(|error| Failure::run(&error))?;
    let checks = Checks { access: server.access.clone(), tls: server.tls.clone() };
    let stop = async {
        serving(checks);
        service_manager::ready();
        stop.await;
        service_manager::stopping();
    };
    server.heartbeat = service_manager::heartbeat();
    server.run(listeners, stop).await.map_err(|error| Failure::run(&error))
}

/// Warns of settings that are allowed beyond loopback but leave something open.
fn warn_if_exposed(config: &Config) {
    if config.facade.traces.as_ref().is_some_and(otlp::Settings::exposes_headers) {
        tracing::warn!("OTEL_EXPORTER_OTLP_HEADERS travel in the clear");
    }
    if config.addresses.grpc.is_local() {
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

/// Warns of variables that are set and have no effect.
fn warn_of_ignored(config: &Config) {
    for what in &config.ignored {
        tracing::warn!("{what}");
    }
}

/// Returns the address for gRPC.
fn address_of(listeners: &Listeners) -> Result<Address, Failure> {
    listeners.grpc.address().map_err(|error| Failure::run(&error))
}

/// Says where the façade listens.
fn announcement(listeners: &Listeners) -> Result<String, Failure> {
    let admin = Address::Tcp(addr_of(&listeners.admin)?);
    Ok(listening("grpc", &address_of(listeners)?) + &listening("admin", &admin))
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
