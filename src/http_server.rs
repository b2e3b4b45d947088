//! Plain HTTP/1, for the admin port and the console.

use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Acceptor, Slots, Workers};

/// Serves `router` on this thread's runtime until `closing` is cancelled. At the maximum, the
/// oldest connections are evicted; one that sends no whole header in 30 seconds is closed.
pub(crate) fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    closing: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    let workers = Arc::new(Workers::here());
    let slots = Slots::new(max_connections, closing.clone());
    let acceptor = Acceptor { slots, tls: None, workers, closing };
    acceptor.spawn(listener.into(), move |stream, _, activity| {
        let service = TowerToHyperService::new(router.clone());
        let connection = Box::pin(http.serve_connection(TokioIo::new(stream), service));
        async move { connection::serve(connection, &activity, None).await }
    });
}
