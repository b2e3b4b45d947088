//! The HTTP server. It differs from axum's own in one thing: a handler can have the connection cut.

use std::{io, time::Duration};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

/// In the extensions of a response: close the connection instead of sending it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is to be cut")]
pub(super) struct Cut;

/// Serves `router` until it is dropped.
pub(super) async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, router.clone()))),
            // Out of file descriptors, most likely: not a reason to spin.
            Err(error) => {
                tracing::warn!(%error, "the sandbox cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let response: Response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            match response.extensions().get::<Cut>() {
                Some(cut) => Err(*cut),
                None => Ok(response),
            }
        }
    });
    // A connection that breaks is the caller's business.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
