//! The settings of the program: flags and variables become a checked configuration.
//!
//! Each setting is declared once, in the file of its subject. To add one, declare it with
//! `settings!` and read it with a [`Reader`]. All settings are checked together, so that an
//! operator sees every mistake at once.

mod callers;
mod client;
mod idempotency;
mod kind;
mod logs;
mod page;
mod sandbox;
mod server;
mod setting;
mod stytch;
mod unchecked;

use std::net::SocketAddr;

use crate::facade;
pub use client::ClientConfig;
pub use logs::LogConfig;
pub use page::{all, page, secrets_help};
pub use sandbox::{DevConfig, SandboxConfig, sandbox_url};
pub use setting::{About, Group};
use setting::{Setting, settings};
pub use unchecked::{FromSettings, Problem, Reader, Unchecked};

/// A façade in front of Stytch.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on for gRPC.
    pub grpc_addr: SocketAddr,
    /// The address to listen on for HTTP probes and metrics.
    pub admin_addr: SocketAddr,
    /// Everything else.
    pub facade: facade::Settings,
}

impl FromSettings for Config {
    const GROUPS: &'static [&'static Group] = &[
        &stytch::PROJECT,
        &stytch::TIMEOUTS,
        &server::SERVER,
        &idempotency::IDEMPOTENCY,
        &server::SHUTDOWN,
        &callers::CALLERS,
    ];

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let project = stytch::Project::read(reader);
        Self::in_front_of(project, reader)
    }
}

impl Config {
    fn in_front_of(project: Option<stytch::Project>, reader: &mut Reader<'_>) -> Option<Self> {
        let stytch = stytch::read(reader, project);
        let addresses = server::addresses(reader);
        let server = server::read(reader);
        let idempotency = idempotency::read(reader);
        let (tls, access) = callers::read(reader);
        let (grpc_addr, admin_addr) = addresses?;
        let facade = facade::Settings {
            stytch: stytch?,
            idempotency: idempotency?,
            tls,
            access,
            server: server?,
        };
        Some(Self { grpc_addr, admin_addr, facade })
    }
}
