//! A call in flight: who makes it, its deadline, its permit, and whether it has been sent to Stytch.
//!
//! The server admits a [`Call`] and puts it into the extensions of the request, for the handler.

mod admission;
mod completion;

pub use admission::{Call, InFlight};
pub use completion::RunToCompletion;
