//! The client side of Stytch's REST API.
//!
//! One [`Client::call`] serves every [`Endpoint`]. It sends what changes something at most once, never
//! follows a redirect, never waits longer than its timeout, and says of each failure what is known about
//! it: [`Upstream`]. It knows nothing of gRPC.

mod client;
mod decode;
pub mod endpoint;
mod error;
mod sent;

pub(crate) use client::is_loopback;
pub use client::{Client, READ_RETRIES, Settings};
pub use endpoint::{Effect, Endpoint};
pub use error::{ApiError, Error, Upstream};
pub use sent::Sent;
