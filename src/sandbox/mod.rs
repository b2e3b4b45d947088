//! A stand-in for Stytch's B2B API: an HTTP server that any official SDK can talk to.
//!
//! It responds as Stytch's documentation says, not as our client expects. It imports nothing from
//! [`crate::stytch`] or [`crate::proto`], so that the two cannot agree on a mistake.
//! `docs/sandbox.md` lists what it leaves out and what it had to guess.
//!
//! # Layout
//!
//! A call passes `serve` (connections), `routes` (credentials, body, faults) and one operation of
//! `totp`, `recovery_codes` or `authentication` on `store`, the state behind its one lock. The
//! state is made of `member` and `session`; `seed` fills it, and `control` changes faults and time.

mod authentication;
mod authenticator;
mod clock;
mod control;
mod error;
mod fault;
mod fields;
mod jwt;
mod likeness;
mod member;
mod mint;
mod object;
mod recovery_codes;
mod routes;
mod seed;
mod serve;
mod session;
mod store;
mod totp;

use std::{fmt, io, time::SystemTime};

use tokio::net::TcpListener;

pub use authenticator::{Authenticator, Code};
pub use likeness::OTHER_MEMBER;
pub use seed::{Project, Seed, SeedError};

use self::{
    clock::Clock,
    store::{Shared, Store},
};

/// A sandbox, ready to run.
pub struct Sandbox {
    shared: Shared,
    control: bool,
}

impl Sandbox {
    /// Creates a sandbox that starts with the contents of `seed` and uses the system's clock.
    pub fn new(seed: Seed) -> Self {
        let store = Store::new(seed, Clock::new(SystemTime::now));
        Self { shared: Shared::new(store), control: false }
    }

    /// Replaces the system's clock with `clock`.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.shared.lock().clock = Clock::new(clock);
        self
    }

    /// Opens `/sandbox/`, where anyone who reaches the port can inject faults and advance the
    /// clock.
    #[must_use]
    pub fn with_control(mut self) -> Self {
        self.control = true;
        self
    }

    /// Returns the authenticator apps of the members.
    pub fn authenticator(&self) -> Authenticator {
        Authenticator(self.shared.clone())
    }

    /// Serves until `stop` completes.
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn run(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut router = routes::router(&self.shared);
        if self.control {
            router = router.merge(control::router());
        }
        tokio::select! {
            result = serve::serve(listener, router.with_state(self.shared)) => result,
            () = stop => Ok(()),
        }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("control", &self.control).finish_non_exhaustive()
    }
}
