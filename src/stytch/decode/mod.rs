//! Reads the responses of Stytch.
//!
//! `success.rs` decodes a message, `failure.rs` classifies an error, and `lenient.rs` reads the
//! JSON of both without failing on a malformed field.

mod failure;
mod lenient;
mod success;

pub(super) use failure::request_id;
pub use success::decode;
