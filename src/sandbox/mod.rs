//! A stand-in for Stytch's B2B API: an HTTP server that any official SDK can talk to.
//!
//! It answers as Stytch's documentation says, never as our client expects: it imports nothing from
//! [`crate::stytch`] or [`crate::proto`], so that the two cannot agree on a mistake. What it leaves
//! out, and where it had to choose, is listed in `docs/sandbox.md`.

mod error;
mod routes;
mod seed;
mod store;
mod totp;

use tokio::net::TcpListener;

pub use seed::{Project, Seed, SeedError};

/// Serves `seed` until `stop`.
///
/// # Errors
///
/// When the listener fails.
pub async fn run(
    listener: TcpListener,
    seed: Seed,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let router = routes::router(seed);
    tokio::select! {
        result = async { axum::serve(listener, router).await } => result,
        () = stop => Ok(()),
    }
}
