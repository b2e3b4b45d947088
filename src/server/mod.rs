//! Serves the façade: listeners, layers, health, reflection, and the drain at the end.
//!
//! [`run`] takes its sockets and its stop signal from the caller, so that the binary and every test
//! run the same code. It knows nothing of TOTP.

mod admin;
mod arrival;
mod deadline;
mod drain;
mod guard;
mod listener;
mod slots;
pub mod tls;

use std::{io, time::Duration};

use futures_util::stream::poll_fn;
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tonic::transport::Server;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    access::Access, call::InFlight, metrics::Metrics, proto, reload::Reloaded, service::Services,
};
use drain::Close;
use guard::GuardLayer;
pub use listener::Peer;
pub use slots::OpenCall;
use tls::Tls;

/// Limits and times of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether tools may ask for the contract.
    pub reflection: bool,
    /// Calls in the process; more are shed at once.
    pub max_in_flight: usize,
    /// Open connections; for more, idle ones make way.
    pub max_connections: usize,
    /// How long a connection is used, a tenth more or less; 0: for as long as it lasts.
    pub max_connection_age: Duration,
    /// How long calls are still welcome after the stop signal, for load balancers to notice.
    pub drain_delay: Duration,
    /// How long open calls may take after that.
    pub drain_timeout: Duration,
}

/// Who may come in, and how.
#[derive(Clone, Debug)]
pub struct Door {
    /// TLS, unless the port is plain.
    pub tls: Option<Reloaded<Tls>>,
    /// Which callers are served.
    pub access: Access,
}

impl Door {
    /// Plain, and open to all.
    pub fn open() -> Self {
        Self { tls: None, access: Access::open() }
    }
}

/// The sockets of a server.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For HTTP probes and metrics.
    pub admin: TcpListener,
}

/// Why a server ended other than by a clean drain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener failed for good.
    #[error("the server failed")]
    Server(#[from] tonic::transport::Error),
    /// The admin listener failed for good.
    #[error("the admin port failed")]
    Admin(#[from] io::Error),
    /// The descriptors of the contract cannot be served.
    #[error("reflection cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The drain ran out of time.
    #[error("the drain ran out of time and cut {in_flight} calls")]
    DrainTimeout {
        /// Calls that had not ended.
        in_flight: usize,
    },
}

/// Serves until `stop`, then drains: says `NOT_SERVING`, waits for that to be noticed, sends GOAWAY,
/// and lets open calls finish, those included whose caller has gone.
///
/// # Errors
///
/// When a listener fails, or when the drain runs out of time.
pub async fn run(
    listeners: Listeners,
    settings: &Settings,
    door: Door,
    services: Services,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let in_flight = InFlight::new(settings.max_in_flight);
    let (close, closing) = Close::new();
    let (ready, is_ready) = watch::channel(true);
    let (health, health_service) = tonic_health::server::health_reporter();
    let Services { routes, names } = services;
    report(&health, &names, ServingStatus::Serving).await;

    let mut routes = routes.add_service(health_service);
    if settings.reflection {
        routes =
            routes.add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?);
    }
    let routes = routes.prepare();
    let Door { tls, access } = door;
    let guard = GuardLayer { access, in_flight: in_flight.clone(), closing: closing.clone() };
    let goaway = async {
        stop.await;
        tracing::info!(in_flight = in_flight.count(), "draining");
        ready.send_replace(false);
        report(&health, &names, ServingStatus::NotServing).await;
        sleep(settings.drain_delay).await;
        close.now();
    };
    let mut connections = listener::connections(listeners.grpc, settings.max_connections, tls);
    let calls =
        poll_fn(move |context| connections.poll_recv(context).map(|it| it.map(Ok::<_, io::Error>)));
    let served = async {
        transport(in_flight.share())
            .layer(guard)
            .add_routes(routes)
            .serve_with_incoming_shutdown(calls, goaway)
            .await?;
        in_flight.idle().await;
        Ok(())
    };
    let limit = async {
        closing.wait().await;
        sleep(settings.drain_timeout).await;
    };
    tokio::select! {
        result = served => result,
        result = admin::serve(listeners.admin, is_ready, metrics) => Ok(result?),
        () = limit => match in_flight.count() {
            0 => {
                tracing::warn!("some idle connections would not close");
                Ok(())
            }
            in_flight => Err(Error::DrainTimeout { in_flight }),
        },
    }
}

/// HTTP/2 as we want it; tonic's defaults are made for larger messages and trusted peers.
fn transport(streams: usize) -> Server {
    Server::builder()
        .accept_http1(false)
        // Finds peers that vanished without closing.
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        // Requests are small, so a stream needs room for one and a connection for some.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_concurrent_streams(u32::try_from(streams).unwrap_or(u32::MAX))
        .http2_max_header_list_size(16 * 1024)
        // Rapid reset (CVE-2023-44487) and its kin end the connection.
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_local_error_reset_streams(Some(100))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        // With these, tools can print the details of an error.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .include_reflection_service(false)
}

async fn report(health: &HealthReporter, names: &[&'static str], status: ServingStatus) {
    for name in names.iter().copied().chain([""]) {
        health.set_service_status(name, status).await;
    }
}
