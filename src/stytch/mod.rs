//! The client side of Stytch's REST API.
//!
//! One [`Client::call`] serves every [`Endpoint`]. It sends what changes something at most once, never
//! follows a redirect, never waits longer than its timeout, and says of each failure what is known about
//! it: [`Upstream`]. It knows nothing of gRPC.

mod body;
mod breaker;
mod circuit;
mod client;
mod credentials;
mod decode;
pub mod endpoint;
mod error;
mod lenient;
mod mask;
mod pool;
mod retry;
mod sent;

pub use breaker::OPEN_FOR;
pub use client::{Client, Settings, SetupError};
pub use credentials::{Credentials, check_secret, read_secret};
pub use decode::decode;
pub use endpoint::{Effect, Endpoint};
#[cfg(test)]
pub(crate) use error::OUR_CREDENTIALS;
pub use error::{ApiError, Error, Unreadable, Upstream};
pub use mask::{MASK, MAX_TEXT, Mask};
pub use retry::RETRIES;
pub use sent::Sent;
