//! A stand-in for Stytch's B2B API: an HTTP server that any official SDK can talk to.
//!
//! It answers as Stytch's documentation says, never as our client expects: it imports nothing from
//! [`crate::stytch`] or [`crate::proto`], so that the two cannot agree on a mistake. What it leaves
//! out, and where it had to choose, is listed in `docs/sandbox.md`.

mod control;
mod error;
mod fault;
mod fields;
mod jwt;
mod member;
mod mint;
mod recovery_codes;
mod routes;
mod seed;
mod serve;
mod session;
mod store;
mod totp;

use std::{fmt, io, sync::Arc, time::SystemTime};

use tokio::net::TcpListener;

pub use seed::{Project, Seed, SeedError};

/// A JSON object.
type Object = serde_json::Map<String, serde_json::Value>;

/// Tells the sandbox's time.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A sandbox to be served.
#[derive(Clone)]
pub struct Sandbox {
    seed: Seed,
    clock: Clock,
    control: bool,
}

impl Sandbox {
    /// Starts with what is in `seed`, at the system's time.
    pub fn new(seed: Seed) -> Self {
        Self { seed, clock: Arc::new(SystemTime::now), control: false }
    }

    /// Lives by another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens `/sandbox/`, where anybody who reaches the port can inject faults and advance the time.
    #[must_use]
    pub fn with_control(mut self) -> Self {
        self.control = true;
        self
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn run(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let router = routes::router(self);
        tokio::select! {
            result = serve::serve(listener, router) => result,
            () = stop => Ok(()),
        }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("control", &self.control).finish_non_exhaustive()
    }
}
