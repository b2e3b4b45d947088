//! The HTTP server. Unlike axum's own, it lets a handler cut the connection.

use std::{io, time::Duration};

use axum::{Router, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

/// An extension of a response that makes the server close the connection instead of sending it; as
/// an error of a response's body, it makes the server close the connection at that point.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a fault cuts the connection")]
pub(super) struct Cut;

/// Serves `router` until the future is dropped.
pub(super) async fn serve(listener: TcpListener, router: Router) -> io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, router.clone()))),
            // Most likely the process is out of file descriptors: wait rather than spin.
            Err(error) => {
                tracing::warn!(%error, "the sandbox cannot accept a connection");
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
    // A broken connection is for the caller to handle.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
