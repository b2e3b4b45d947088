//! The wiring: settings become a server that is ready to run.
//!
//! The command line, the tests and whatever else starts a façade do it here, so that all of them run
//! the same one.

use crate::{
    access::{self, Access},
    connection::tls,
    idempotency::{self, Idempotency},
    server::{self, Server},
    service::{Handler, Services},
    stytch::{self, Client},
    telemetry::metrics::Metrics,
};

/// Everything that a façade needs but its sockets, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach Stytch.
    pub stytch: stytch::Settings,
    /// Where calls with an idempotency key are recorded, and for how long.
    pub idempotency: idempotency::Settings,
    /// The files of TLS, unless the gRPC port is plain.
    pub tls: Option<tls::Files>,
    /// How callers are identified, and what they may do.
    pub access: access::Settings,
    /// Limits and times of the server.
    pub server: server::Settings,
}

/// Why a façade cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No client for Stytch can be built.
    #[error(transparent)]
    Stytch(#[from] stytch::SetupError),
    /// The idempotency store cannot be prepared.
    #[error(transparent)]
    Idempotency(idempotency::StoreError),
    /// A file cannot be used; the text says which, and why.
    #[error("{0}")]
    File(String),
}

/// Builds every part and loads every file. Needs a runtime; connects to nothing but the idempotency
/// store, and does not wait for that.
///
/// # Errors
///
/// The first part that cannot be built.
pub fn build(settings: &Settings, metrics: Metrics) -> Result<Server, SetupError> {
    let client = Client::new(&settings.stytch, &metrics)?;
    let idempotency = Idempotency::new(&settings.idempotency, &client, &metrics);
    let idempotency = idempotency.map_err(SetupError::Idempotency)?;
    let tls = settings.tls.as_ref().map(|files| files.watch(&metrics)).transpose();
    let tls = tls.map_err(SetupError::File)?;
    let access = Access::new(&settings.access, &metrics).map_err(SetupError::File)?;
    let probe = idempotency.clone();
    tokio::spawn(async move { probe.probe().await });
    Ok(Server {
        settings: settings.server.clone(),
        tls,
        access,
        services: Services::new(Handler::new(client, idempotency)),
        metrics,
    })
}
