//! The one model: messages generated from `proto/`, which are both the gRPC messages and Stytch's
//! JSON bodies (`build.rs`).
//!
//! Trap: `Debug` of these messages hides secrets, `serde` does not. Print them with `{:?}` only.

pub mod json;
pub mod metadata;
mod shape;

use std::{collections::HashSet, fmt, sync::LazyLock};

pub use shape::{Depth, Form, Shape, Shaped};

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/services.rs"));
    include!(concat!(env!("OUT_DIR"), "/model.rs"));
}

pub use generated::stytch;

/// The compiled contract with its comments, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The full name of an RPC, if there is one of this name. What is not the contract's is not passed on.
pub fn method(name: &str) -> Option<&'static str> {
    static METHODS: LazyLock<HashSet<String>> = LazyLock::new(|| methods().into_iter().collect());
    METHODS.get(name).map(String::as_str)
}

/// The full name of every RPC, as in `stytch.b2b.totp.v1.TotpService/Create`.
pub fn methods() -> Vec<String> {
    let descriptors: prost_types::FileDescriptorSet =
        prost::Message::decode(DESCRIPTORS).expect("the contract is compiled in");
    let files = descriptors.file.iter().filter(|file| file.package().starts_with("stytch."));
    files
        .flat_map(|file| file.service.iter().map(move |service| (file, service)))
        .flat_map(|(file, service)| {
            let name = format!("{}.{}", file.package(), service.name());
            service.method.iter().map(move |method| format!("{name}/{}", method.name()))
        })
        .collect()
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
    /// What the contract says of it, as one paragraph.
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
