//! The admin port: plain HTTP for probes and for Prometheus.

use std::{future::pending, io, net::SocketAddr};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
    serve::Listener,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use super::listener::{Connection, connections};
use crate::metrics::{self, Metrics};

/// Room for the probes of a node and a few scrapers. For more, idle connections make way.
const MAX_CONNECTIONS: usize = 64;

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
    axum::serve(Bounded::new(listener)?, router).await
}

/// The connections of the port, no more than its limit at a time.
struct Bounded {
    addr: SocketAddr,
    connections: mpsc::Receiver<Connection>,
}

impl Bounded {
    fn new(listener: TcpListener) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        Ok(Self { addr, connections: connections(listener, MAX_CONNECTIONS, None) })
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.connections.recv().await {
            Some(connection) => {
                let addr = connection.addr().unwrap_or(self.addr);
                (connection, addr)
            }
            // The runtime is ending.
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr)
    }
}
