//! The server: listeners, calls, health, reflection, admin port and drain. It knows nothing of
//! TOTP.
//!
//! hyper's connection builder serves the connections rather than tonic's server, which does not
//! expose them: eviction, maximum age and drain all close a connection in the same graceful way
//! ([`connection`]).
//!
//! [`Server::run`] takes its sockets and its stop signal from the caller, so that the binary and
//! every test run the same code.

mod admin;
mod answer;
mod arrival;
mod deadline;
mod guard;
mod health;
mod heartbeat;
mod measure;
mod method;
mod protocol;
mod refusals;
mod streams;
mod traced;

use std::{io, pin::pin, sync::Arc, time::Duration};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    call::InFlight,
    connection::{
        self, Acceptor, CountResets, EventsFirst, Listener, MAX_PENDING_RESETS, Slots, Workers,
        tls::Tls,
    },
    files::Reloaded,
    otlp::Exporter,
    proto,
    service::{Handler, MAX_REQUEST, Services},
    telemetry::{
        self,
        metrics::{Metrics, ShedLimit},
        trace::Tracer,
    },
};
use guard::{Guard, Shared};
pub use heartbeat::Heartbeat;
use measure::Counts;

/// The limits and timeouts of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether to serve reflection.
    pub reflection: bool,
    /// How many threads serve connections; with one, the thread that runs the server does.
    pub worker_threads: usize,
    /// The most calls in flight in the process; more are shed at once.
    pub max_in_flight: usize,
    /// The most open connections; for a new one beyond that, another is evicted.
    pub max_connections: usize,
    /// The maximum age of a connection, give or take a tenth; zero for no maximum.
    pub max_connection_age: Duration,
    /// How long to go on serving after the stop signal, so that load balancers notice.
    pub drain_delay: Duration,
    /// How long open calls may take to finish after that.
    pub drain_timeout: Duration,
}

/// A server that is ready to run.
#[derive(Debug)]
pub struct Server {
    /// Its limits and timeouts.
    pub settings: Settings,
    /// TLS for the gRPC port; `None` for plaintext.
    pub tls: Option<Reloaded<Tls>>,
    /// Who may call which method.
    pub access: Access,
    /// The services, apart from health and reflection.
    pub services: Services,
    /// What handles their calls. The end of the server waits until it has stored their outcomes.
    pub handler: Handler,
    /// The metrics that the admin port shows.
    pub metrics: Metrics,
    /// Begins the traces of calls.
    pub tracer: Tracer,
    /// Sends what the tracer records.
    pub exporter: Option<Exporter>,
    /// Tells a service manager that the server lives.
    pub heartbeat: Option<Heartbeat>,
}

/// The sockets of a server.
#[derive(Debug)]
pub struct Listeners {
    /// The gRPC port.
    pub grpc: Listener,
    /// The admin port: probes and metrics over HTTP.
    pub admin: TcpListener,
}

/// Why a server did not start or did not drain cleanly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The descriptors of the contract are not valid for reflection.
    #[error("reflection cannot be served")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The system refuses the threads that serve connections.
    #[error("the threads of TOTP_FACADE_WORKER_THREADS cannot be started")]
    Workers(#[from] io::Error),
    /// The drain timeout passed.
    #[error("the drain timed out and cut off {in_flight} calls")]
    DrainTimeout {
        /// The number of calls that were cut off.
        in_flight: usize,
    },
}

impl Server {
    /// Serves until `stop` completes, then drains. `stop` is first polled once calls are answered.
    ///
    /// The drain reports `NOT_SERVING`, waits for load balancers to notice, sends GOAWAY, and lets
    /// open calls finish, including those whose caller has gone, and their outcomes reach the
    /// idempotency store.
    ///
    /// # Errors
    ///
    /// Returns an error if reflection cannot be served, a thread cannot be started, or the drain
    /// times out.
    pub async fn run(
        self,
        listeners: Listeners,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let Self { settings, tls, access, services, handler, metrics, tracer, exporter, heartbeat } =
            self;
        let in_flight = InFlight::new(settings.max_in_flight, metrics.clone());
        // On the page for as long as the server runs.
        let _shown = show(&in_flight, &metrics);
        let may_wait = in_flight.share() / 2;
        telemetry::let_wait(may_wait);
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
        let counts = Arc::new(Counts::new(metrics.clone()));
        let shared =
            Arc::new(Shared { routes, access, in_flight: in_flight.clone(), tracer, counts });

        let closing = CancellationToken::new();
        let done = CancellationToken::new();
        let _done = done.clone().drop_guard();
        // They outlive the acceptor, until the drain is over.
        let workers = Arc::new(Workers::start(settings.worker_threads)?);
        workers.report(&metrics);
        if let Some(heartbeat) = heartbeat {
            let beats = heartbeat.run(workers.runtimes());
            tokio::spawn(done.clone().run_until_cancelled_owned(beats));
        }
        metrics.ready.set(1);
        admin::start(listeners.admin, is_serving, metrics.clone(), done);
        let slots = Slots::new(settings.max_connections, closing.clone());
        slots.show(&metrics);
        let acceptor =
            Acceptor { slots, tls, workers: Arc::clone(&workers), closing: closing.clone() };
        // Calls that are in flight when standard error blocks all wait, besides those that did.
        let http = transport(2 * in_flight.share() + may_wait);
        let max_age = Some(settings.max_connection_age).filter(|age| !age.is_zero());
        let connections = acceptor.spawn(listeners.grpc, move |stream, peer, activity| {
            let is_proxy = shared.access.is_proxy(&peer);
            let stream = EventsFirst::new(stream, Arc::clone(&activity));
            let stream = CountResets::new(stream, Arc::clone(&activity), is_proxy);
            let guard = Guard::new(Arc::clone(&shared), peer, Arc::clone(&activity), is_proxy);
            let connection = Box::pin(http.serve_connection(TokioIo::new(stream), guard));
            async move { connection::serve(connection, &activity, max_age).await }
        });

        stop.await;
        tracing::info!(in_flight = in_flight.count(), "draining");
        serving.send_replace(false);
        metrics.ready.set(0);
        sleep(settings.drain_delay).await;
        closing.cancel();
        connections.close();
        let drained = async {
            connections.wait().await;
            in_flight.idle().await;
        };
        let until = Instant::now() + settings.drain_timeout;
        let drained = answering_by(until - time_to_answer(settings.drain_timeout), drained);
        let drained = timeout_at(until, drained).await;
        // A call that waits for its audit event is not in flight any more.
        let result = match (drained, in_flight.count() + telemetry::waiting()) {
            (Ok(()), _) => Ok(()),
            (Err(_), 0) => {
                tracing::warn!("drained; some clients did not close their idle connections");
                Ok(())
            }
            (Err(_), in_flight) => Err(Error::DrainTimeout { in_flight }),
        };
        let flush = async {
            if let Some(exporter) = exporter {
                exporter.flush(until).await;
            }
        };
        tokio::join!(handler.settle_by(until), flush);
        result
    }
}

/// How long before the end of a drain calls stop waiting for their audit events, so that they can
/// be answered in time.
fn time_to_answer(drain_timeout: Duration) -> Duration {
    (drain_timeout / 10).min(Duration::from_secs(1))
}

/// Waits for `drained`, and from then on lets no call wait for its audit event: until then somebody
/// may read standard error, but a call whose connection is cut would not get its outcome at all.
async fn answering_by(then: Instant, drained: impl Future<Output = ()>) {
    let mut drained = pin!(drained);
    if timeout_at(then, &mut drained).await.is_err() {
        let calls = telemetry::stop_waiting();
        if calls > 0 {
            tracing::warn!(
                calls,
                "nobody reads standard error: calls are answered before their audit events"
            );
        }
        drained.await;
    }
}

/// Shows the calls in flight on the page of metrics until the result is dropped.
fn show(in_flight: &InFlight, metrics: &Metrics) -> Arc<InFlight> {
    let shown = Arc::new(in_flight.clone());
    metrics.calls_in_flight.watch(&shown, |it| it.count() as f64);
    metrics.calls_limit.watch(&shown, |it| it.limit() as f64);
    let [of_process, of_connection] =
        [ShedLimit::Process, ShedLimit::Connection].map(|limit| metrics.calls_shed.get(limit));
    of_process.watch(&shown, |it| it.shed_by_process() as f64);
    of_connection.watch(&shown, |it| it.shed_by_connection() as f64);
    shown
}

/// Configures HTTP/2. The defaults are meant for larger messages and trusted peers.
fn transport(max_streams: usize) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        // Detects peers that vanished without closing.
        .keep_alive_interval(Some(Duration::from_secs(60)))
        .keep_alive_timeout(Duration::from_secs(20))
        // Requests are small: a stream's window holds one, a connection's window several.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_concurrent_streams(u32::try_from(max_streams).unwrap_or(u32::MAX))
        // Above the limit on metadata, so that a call beyond that limit gets a status.
        .max_header_list_size(u32::try_from(4 * protocol::MAX_METADATA).unwrap_or(u32::MAX))
        // CountResets closes connections with too many resets, and never lets more than these pend.
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(None);
    http
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        // So that tools can decode error details.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .include_reflection_service(false)
}
