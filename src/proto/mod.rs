//! The one model: messages generated from `proto/`, which are both the gRPC messages and Stytch's
//! JSON bodies (`build.rs`).
//!
//! Trap: `Debug` of these messages hides secrets, `serde` does not. Print them with `{:?}` only.

pub mod json;
pub mod metadata;
mod shape;

use std::fmt;

pub use shape::{Depth, Form, Shape, Shaped};

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/services.rs"));
    include!(concat!(env!("OUT_DIR"), "/model.rs"));
}

pub(crate) use generated::rpcs;
pub use generated::{METHODS, stytch};

/// The compiled contract with its comments, for reflection.
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

/// Returns the contract's own copy of the full name of an RPC, or `None` for an unknown name, which
/// may be anything that a client made up.
pub fn method(name: &str) -> Option<&'static str> {
    METHODS.iter().map(|method| method.name).find(|known| *known == name)
}

/// The full name of every RPC.
pub fn methods() -> Vec<String> {
    METHODS.iter().map(|method| method.name.to_owned()).collect()
}

/// What every request has, whichever RPC takes it. Implemented by `build.rs`.
pub trait StytchRequest {
    /// The organization, by any of its names.
    fn organization_id(&self) -> &str;

    /// The member, by any of their names.
    fn member_id(&self) -> &str;

    /// Values that must not come back in an error text.
    fn secrets(&self) -> Vec<&str>;

    /// The fields that can say whose login this is, and whether they are set.
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
    /// Its name, which is Stytch's.
    pub name: &'static str,
    /// The same in kebab case.
    pub flag: &'static str,
    /// The first paragraph of its comment.
    pub comment: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it has to be there.
    pub is_required: bool,
}

/// What a field of a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Any number of texts.
    Texts,
    /// A whole number.
    Number,
    /// True or false.
    Bool,
    /// A JSON object.
    Object,
}

/// What every answer has, whichever RPC returns it. Implemented by `build.rs`.
pub trait StytchResponse: prost::Message + Shaped {
    /// Stytch's identifier of the call; empty when it sent none.
    fn request_id(&self) -> &str;

    /// The TOTP that the answer is about, where it says so at its top.
    fn totp_registration_id(&self) -> Option<&str>;
}

/// Stands in for a secret in `Debug`, telling only whether there is one.
struct Hidden {
    absent: bool,
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.absent { "none" } else { "[redacted]" })
    }
}
