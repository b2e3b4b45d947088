//! The sandbox, alone and behind the façade.

use std::net::SocketAddr;

use super::{
    callers,
    client::CREDENTIALS,
    console::{CONSOLE, ConsoleConfig},
    facade::Config,
    idempotency::IDEMPOTENCY,
    kind::{ADDR, Kind, SWITCH},
    server::{SERVER, SHUTDOWN},
    setting::{Group, Setting, settings},
    stytch::{Project, TIMEOUTS},
    traces,
    unchecked::{FromSettings, Reader},
};
use crate::sandbox::Seed;

settings! { SANDBOX "Sandbox"
    /// Address for the sandbox to listen on. Port 0 takes a free port and prints it.
    SANDBOX_ADDR: SocketAddr = Setting::new("TOTP_FACADE_SANDBOX_ADDR", ADDR)
        .derived("127.0.0.1:8090; under dev, a free port of 127.0.0.1");

    /// File with organizations and members to serve instead of the built-in ones (docs/sandbox.md).
    SEED: Seed = Setting::new("--seed", SEED_KIND);

    /// Open `/sandbox/` on the sandbox, to inject faults and to set its clock (docs/sandbox.md).
    /// Whoever reaches the port can use it.
    SANDBOX_CONTROL: bool = Setting::new("TOTP_FACADE_SANDBOX_CONTROL", SWITCH).default("false");
}

const SEED_KIND: Kind<Seed> = Kind::file(
    |path| Seed::read(path).map_err(|error| error.to_string()),
    |seed| seed.project.project_id.clone(),
);

/// Where the sandbox listens, and what it serves.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The address to listen on.
    pub addr: SocketAddr,
    /// The organizations and members to start with.
    pub seed: Seed,
    /// Whether `/sandbox/` is open.
    pub control: bool,
}

impl SandboxConfig {
    /// Reads the configuration. Without an address, the sandbox listens on this port of loopback.
    fn read_or(reader: &mut Reader<'_>, port: u16) -> Option<Self> {
        let addr = reader.get_or(&SANDBOX_ADDR, || Some(([127, 0, 0, 1], port).into()));
        let seed = reader.get_or(&SEED, || Some(Seed::embedded()));
        let control = reader.get(&SANDBOX_CONTROL);
        Some(Self { addr: addr?, seed: seed?, control: control? })
    }
}

impl FromSettings for SandboxConfig {
    const GROUPS: &'static [&'static Group] = &[&SANDBOX];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Self::read_or(reader, 8090)
    }
}

/// A façade in front of the sandbox.
// No `Debug`: `ClientConfig` has none.
#[allow(missing_debug_implementations)]
pub struct DevConfig {
    /// The façade. Its base URL has port 0 until the caller has bound a free port for the sandbox.
    pub config: Config,
    /// The sandbox.
    pub sandbox: SandboxConfig,
    /// The console.
    pub console: ConsoleConfig,
}

impl FromSettings for DevConfig {
    const GROUPS: &'static [&'static Group] = &[
        &TIMEOUTS,
        &SERVER,
        &IDEMPOTENCY,
        &SHUTDOWN,
        &callers::CALLERS,
        &traces::TRACES,
        &SANDBOX,
        &CONSOLE,
        &CREDENTIALS,
    ];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let sandbox = SandboxConfig::read_or(reader, 0);
        let project = sandbox.as_ref().map(|sandbox| Project {
            base_url: sandbox_url(sandbox.addr),
            project_id: sandbox.seed.project.project_id.clone(),
            secret: sandbox.seed.project.secret.clone().into(),
            secret_file: None,
            ca_file: None,
        });
        let config = Config::in_front_of(project, reader);
        let tls = config.as_ref().and_then(|config| config.facade.tls.as_ref());
        let console = ConsoleConfig::beside(tls, reader);
        Some(Self { config: config?, sandbox: sandbox?, console: console? })
    }
}

/// Returns the base URL of a sandbox.
pub fn sandbox_url(addr: SocketAddr) -> reqwest::Url {
    format!("http://{addr}").parse().expect("an address makes a URL")
}
