//! The admin port: plain HTTP for probes and for Prometheus.

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use crate::metrics::{self, Metrics};

/// Whether new calls are welcome.
pub(super) type Ready = watch::Receiver<bool>;

/// Serves `/livez` (the process answers), `/readyz` (send it calls) and `/metrics` for ever.
pub(super) async fn serve(
    listener: TcpListener,
    ready: Ready,
    metrics: Metrics,
) -> std::io::Result<()> {
    let readiness = async move || match *ready.borrow() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    let metrics = async move || ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.page());
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics));
    axum::serve(listener, router).await
}
