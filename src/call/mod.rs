//! A call in flight: its caller, its deadline, its permit, and whether its request was sent to
//! Stytch.
//!
//! The server admits a [`Call`] and passes it to the handler in the extensions of the request.

mod admission;
mod completion;

pub use admission::{Call, InFlight};
pub use completion::{End, RunToCompletion};
