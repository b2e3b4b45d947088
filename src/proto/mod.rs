//! The messages that `build.rs` generates from `proto/`. Each is both the gRPC message and Stytch's
//! JSON body.
//!
//! Trap: `Debug` of these messages hides secrets, `serde` does not. Print them only with `{:?}`.

mod code;
mod depth;
pub mod json;
pub mod metadata;
mod rpc;

use std::fmt;

pub(crate) use code::CODES;
pub use code::{code_name, is_server_error};
pub use depth::Depth;
pub use rpc::Rpc;

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated;

pub(crate) use generated::rpcs;
pub use generated::{METHODS, stytch};

/// The encoded `FileDescriptorSet` of the contract with its comments, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// An RPC of the contract. `build.rs` lists all of them in [`METHODS`], and together with their
/// types in the macro `rpcs!`.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The full name, as in `stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get`.
    pub name: &'static str,
    /// The name of the service in kebab case: `recovery-codes`.
    pub group: &'static str,
    /// The first paragraph of the service's comment.
    pub group_comment: &'static str,
    /// The name of the method in kebab case: `get`.
    pub command: &'static str,
    /// The first paragraph of the method's comment.
    pub comment: &'static str,
}

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

/// A field of a request.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The field's name, the same as Stytch's.
    pub name: &'static str,
    /// The name in kebab case.
    pub flag: &'static str,
    /// The first paragraph of its comment.
    pub comment: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// Whether the field is required.
    pub is_required: bool,
}

/// The type of a request field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A list of texts.
    Texts,
    /// An integer.
    Number,
    /// True or false.
    Bool,
    /// A JSON object.
    Object,
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
