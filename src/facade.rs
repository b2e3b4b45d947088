//! The wiring: builds a server from its settings.
//!
//! The command line and the tests both start a façade here, so that they run the same one.

use crate::{
    access::{self, Access},
    connection::tls,
    idempotency::{self, Idempotency},
    otlp::{self, Exporter},
    server::{self, Server},
    service::{Handler, Services},
    status,
    stytch::{self, Client},
    telemetry::{metrics::Metrics, trace::Tracer},
};

/// The validated settings of a façade, except its sockets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach Stytch.
    pub stytch: stytch::Settings,
    /// Where and for how long to record calls with an idempotency key.
    pub idempotency: idempotency::Settings,
    /// The TLS files of the gRPC port; `None` for plaintext.
    pub tls: Option<tls::Files>,
    /// How to authenticate callers, and what they may do.
    pub access: access::Settings,
    /// The limits and timeouts of the server.
    pub server: server::Settings,
    /// Where to send traces; `None` for no traces.
    pub traces: Option<otlp::Settings>,
}

/// Why a façade cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The client for Stytch cannot be built.
    #[error(transparent)]
    Stytch(#[from] stytch::SetupError),
    /// The idempotency store cannot be set up.
    #[error(transparent)]
    Idempotency(idempotency::StoreError),
    /// A file cannot be used. The message names it and says why.
    #[error("{0}")]
    File(String),
    /// Traces cannot be sent.
    #[error("traces: {0}")]
    Traces(String),
}

/// Builds all components and loads all files. Must be called in a Tokio runtime. Connects only to
/// the idempotency store, in the background.
///
/// # Errors
///
/// Returns the first component that cannot be built.
pub fn build(settings: &Settings, metrics: Metrics) -> Result<Server, SetupError> {
    metrics.upstream_errors.declare(status::error_types());
    let client = Client::new(&settings.stytch, &metrics)?;
    let idempotency = Idempotency::new(&settings.idempotency, &client, &metrics);
    let idempotency = idempotency.map_err(SetupError::Idempotency)?;
    let tls = settings.tls.as_ref().map(|files| files.watch(&metrics)).transpose();
    let tls = tls.map_err(SetupError::File)?;
    let access = Access::new(&settings.access, &metrics).map_err(SetupError::File)?;
    let (tracer, exporter) = match &settings.traces {
        None => (Tracer::default(), None),
        Some(settings) => {
            let (tracer, exporter) =
                Exporter::start(settings, &metrics).map_err(SetupError::Traces)?;
            (tracer, Some(exporter))
        }
    };
    let probe = idempotency.clone();
    tokio::spawn(async move { probe.probe().await });
    let handler = Handler::new(client, idempotency);
    Ok(Server {
        settings: settings.server.clone(),
        tls,
        access,
        services: Services::new(handler.clone()),
        handler,
        metrics,
        tracer,
        exporter,
        heartbeat: None,
    })
}
