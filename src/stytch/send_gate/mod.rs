//! Decides whether a request is sent or given up, never both.
//!
//! `gate.rs` holds the decision, and `body.rs` applies it where the connection takes the request.

mod body;
mod gate;

pub(super) use body::GatedBody;
pub use gate::SendGate;
pub(super) use gate::{Attempt, Closed};
