//! Serves the façade: listeners, connections, calls, health, reflection, and the drain at the end.
//!
//! Each connection is served by hyper's own builder rather than by tonic's server, which hides it: eviction, maximum
//! age and drain all end a connection in the same graceful way (`connection.rs`).
//!
//! [`Server::run`] takes its sockets and its stop signal from the caller, so that the binary and every test
//! run the same code. It knows nothing of TOTP.

mod admin;
mod arrival;
mod deadline;
mod guard;
mod health;
mod protocol;
mod streams;

use std::{sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    call::InFlight,
    connection::{self, Accepting, Counted, MAX_UNSEEN_RESETS, tls::Tls},
    files::Reloaded,
    proto,
    service::{MAX_REQUEST, Services},
    telemetry::metrics::Metrics,
};
use guard::{Guard, Shared};

/// Limits and times of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether tools may ask for the contract.
    pub reflection: bool,
    /// Calls in the process; more are shed at once.
    pub max_in_flight: usize,
    /// Open connections; for more, others are evicted.
    pub max_connections: usize,
    /// How long a connection is used, give or take a tenth; zero for as long as it lasts.
    pub max_connection_age: Duration,
    /// How long calls are still welcome after the stop signal, for load balancers to notice.
    pub drain_delay: Duration,
    /// How long open calls may take after that.
    pub drain_timeout: Duration,
}

/// A server that is ready to run.
#[derive(Debug)]
pub struct Server {
    /// Limits and times.
    pub settings: Settings,
    /// TLS, unless the gRPC port is plain.
    pub tls: Option<Reloaded<Tls>>,
    /// Who may call what.
    pub access: Access,
    /// What is served beside health and reflection.
    pub services: Services,
    /// What the admin port shows.
    pub metrics: Metrics,
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

impl Server {
    /// Serves until `stop`, which is first polled when calls are answered, then drains: says
    /// `NOT_SERVING`, waits for load balancers to notice, sends GOAWAY, and lets open calls finish,
    /// those included whose caller has gone.
    ///
    /// # Errors
    ///
    /// When reflection cannot be served, or when the drain runs out of time.
    pub async fn run(
        self,
        listeners: Listeners,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let Self { settings, tls, access, services, metrics } = self;
        let in_flight = InFlight::new(settings.max_in_flight);
        let (serving, is_serving) = watch::channel(true);
        let Services { routes, names } = services;
        let mut routes = routes.add_service(health::service(names, is_serving.clone()));
        if settings.reflection {
            let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
            routes = routes
                .add_service(v1.max_decoding_message_size(MAX_REQUEST))
                .add_service(v1alpha.max_decoding_message_size(MAX_REQUEST));
        }
        let routes = routes.prepare();
        let shared = Arc::new(Shared { routes, access, in_flight: in_flight.clone() });

        let closing = CancellationToken::new();
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        admin::start(listeners.admin, is_serving, metrics, over);
        let accepting =
            Accepting { limit: settings.max_connections, tls, closing: closing.clone() };
        let http = transport(in_flight.share());
        let max_age = Some(settings.max_connection_age).filter(|age| !age.is_zero());
        let connections = accepting.start(listeners.grpc, move |stream, peer, activity| {
            let is_proxy = shared.access.is_proxy(&peer);
            let stream = Counted::new(stream, Arc::clone(&activity), is_proxy);
            let guard = Guard::new(Arc::clone(&shared), peer, Arc::clone(&activity), is_proxy);
            let connection = Box::pin(http.serve_connection(TokioIo::new(stream), guard));
            async move { connection::serve(connection, &activity, max_age).await }
        });

        stop.await;
        tracing::info!(in_flight = in_flight.count(), "draining");
        serving.send_replace(false);
        sleep(settings.drain_delay).await;
        closing.cancel();
        connections.close();
        let drained = async {
            connections.wait().await;
            in_flight.idle().await;
        };
        match (timeout(settings.drain_timeout, drained).await, in_flight.count()) {
            (Ok(()), _) => Ok(()),
            (Err(_), 0) => {
                tracing::warn!("some idle connections would not close");
                Ok(())
            }
            (Err(_), in_flight) => Err(Error::DrainTimeout { in_flight }),
        }
    }
}

/// HTTP/2 as we want it; the defaults are made for larger messages and trusted peers.
fn transport(streams: usize) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        // Finds peers that vanished without closing.
        .keep_alive_interval(Some(Duration::from_secs(60)))
        .keep_alive_timeout(Duration::from_secs(20))
        // Requests are small, so a stream needs room for one and a connection for some.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_concurrent_streams(u32::try_from(streams).unwrap_or(u32::MAX))
        // More than is taken, so that what is too large can be refused with a status.
        .max_header_list_size(u32::try_from(4 * protocol::MAX_METADATA).unwrap_or(u32::MAX))
        // Resets are counted in resets.rs, which lets no more of them through at a time than this.
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(None);
    http
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
