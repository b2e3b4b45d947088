//! The admin port: plain HTTP for probes.

use axum::{Router, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch};

/// Whether new calls are welcome.
pub(super) type Ready = watch::Receiver<bool>;

/// Serves `/livez` (the process answers) and `/readyz` (send it calls) for ever.
pub(super) async fn serve(listener: TcpListener, ready: Ready) -> std::io::Result<()> {
    let readiness = async move || match *ready.borrow() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    };
    let router =
        Router::new().route("/livez", get(async || "alive\n")).route("/readyz", get(readiness));
    axum::serve(listener, router).await
}
