//! The console: a page on loopback from which a developer tries every call of a façade.
//!
//! It is a client. The page knows the contract and what the member types; the token and the client
//! certificate stay in this process, which makes the calls. `gate` refuses whatever another site
//! could make a browser send. The page itself, in `page/`, is part of the program.

mod asset;
mod authenticator;
mod call;
mod contract;
mod gate;
mod page;
mod settings;
mod state;

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http_server;

pub use state::{Console, Settings};

/// The longest request of the page, in bytes. A façade takes messages of 16 KiB.
const MAX_BODY: usize = 256 * 1024;

/// The page opens a few. At the limit, the oldest connections are evicted.
const MAX_CONNECTIONS: usize = 64;

/// Serves the page until `stop` completes. Calls in flight are cut.
///
/// # Errors
///
/// When the listener has no address.
pub async fn serve(
    console: Console,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let gate = gate::Gate::new(listener.local_addr()?);
    let router = page::routes(Router::new())
        .route("/settings.json", get(settings::settings))
        .route("/call", post(call::call))
        .route("/authenticator", post(authenticator::authenticator))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::new(gate), gate::check))
        .layer(from_fn(gate::protect))
        .with_state(Arc::new(console));
    let closing = CancellationToken::new();
    http_server::serve(listener, router, MAX_CONNECTIONS, closing.clone());
    stop.await;
    closing.cancel();
    Ok(())
}
