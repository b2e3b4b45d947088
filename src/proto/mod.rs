//! The messages that `build.rs` generates from `proto/`. Each is both the gRPC message and Stytch's
//! JSON body.
//!
//! Trap: `Debug` of these messages hides secrets, `serde` does not. Print them only with `{:?}`.

mod code;
mod depth;
mod export;
pub mod json;
pub mod metadata;
mod reference;
mod rpc;

use std::fmt;

pub(crate) use code::CODES;
pub use code::{code_name, is_server_error};
pub use depth::Depth;
pub use export::{DESCRIPTORS, DebugRedact, descriptor_set, files};
pub use reference::{Field, Kind, MAIN_GROUP, Message, Method, first_paragraph, page};
pub use rpc::Rpc;

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated;

pub(crate) use generated::rpcs;
pub use generated::{MESSAGES, METHODS, stytch};

/// The full name of every RPC.
pub fn methods() -> Vec<String> {
    METHODS.iter().map(|method| method.name.to_owned()).collect()
}

/// What all requests have in common. Implemented by `build.rs`.
pub trait StytchRequest {
    /// Returns the organization: its id, slug or external id.
    fn organization_id(&self) -> &str;

    /// Returns the member: its id or external id.
    fn member_id(&self) -> &str;

    /// Returns the values that must not appear in an error text.
    fn secrets(&self) -> Vec<&str>;

    /// Returns the names of the session proofs, and whether each is set.
    fn proofs(&self) -> Vec<(&'static str, bool)>;
}

/// A request with a description of its fields. Implemented by `build.rs`.
pub trait Described {
    /// The fields, in the order of the contract.
    const FIELDS: &'static [Field];
}

/// Replaces a secret in `Debug` output, which then shows only whether it is set.
struct Hidden {
    absent: bool,
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.absent { "none" } else { "[redacted]" })
    }
}
