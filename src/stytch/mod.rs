//! The client for Stytch's REST API.
//!
//! [`Client::call`] serves every [`Endpoint`]. It sends a request that changes something at most
//! once, never follows a redirect, never waits longer than its timeout, and classifies each failure
//! by what is known about the request: [`Upstream`]. Nothing here depends on gRPC.

mod circuit_breaker;
mod client;
mod connections;
mod credentials;
pub mod endpoint;
mod error;
mod failure;
mod pool;
mod record;
mod retry;
mod secret_mask;
mod send_gate;
mod settings;
mod sockets;

pub use circuit_breaker::OPEN_FOR;
pub use client::Client;
pub use credentials::{Credentials, check_secret, read_secret};
pub use endpoint::{Effect, Endpoint};
pub(crate) use error::CA_SETTING;
#[cfg(test)]
pub(crate) use error::OUR_CREDENTIALS;
pub use error::{ApiError, Error, Unreadable, Upstream};
pub use retry::RETRIES;
pub use secret_mask::{MASK, MAX_TEXT, Mask};
pub use send_gate::SendGate;
pub use settings::{Settings, SetupError};
