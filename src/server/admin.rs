//! The admin port: plain HTTP for probes and for Prometheus.

use axum::{
    Router,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    routing::get,
};
use tokio::{net::TcpListener, sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{
    http_server,
    telemetry::metrics::{Format, Metrics},
};

/// Enough for the probes of a node and a few scrapers. At the limit, the oldest connections are
/// evicted.
const MAX_CONNECTIONS: usize = 64;

/// Serves `/livez` (the process runs), `/readyz` (it should get calls) and `/metrics` until
/// `closing` is cancelled.
pub(super) fn start(
    listener: TcpListener,
    ready: watch::Receiver<bool>,
    metrics: Metrics,
    closing: CancellationToken,
) {
    let readiness = async move || match *ready.borrow() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    let metrics = async move |headers: HeaderMap| {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let format = Format::accepted(accept.unwrap_or_default());
        // It reads files of the system, and this thread may serve calls.
        match spawn_blocking(move || metrics.page(format)).await {
            Ok(page) => Ok(([(CONTENT_TYPE, format.content_type())], page)),
            Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    };
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics));
    http_server::serve(listener, router, MAX_CONNECTIONS, closing);
}
