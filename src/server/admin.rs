//! The admin port: plain HTTP for probes and for Prometheus.

use std::sync::Arc;

use axum::{
    Router,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::{self, Acceptor, Slots, Workers},
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
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    let workers = Arc::new(Workers::here());
    let slots = Slots::new(MAX_CONNECTIONS, closing.clone());
    let acceptor = Acceptor { slots, tls: None, workers, closing };
    acceptor.spawn(listener, move |stream, _, activity| {
        let service = TowerToHyperService::new(router.clone());
        let connection = Box::pin(http.serve_connection(TokioIo::new(stream), service));
        async move { connection::serve(connection, &activity, None).await }
    });
}
