//! The messages that `build.rs` generates from `proto/`. Each is both the gRPC message and Stytch's
//! JSON body.
//!
//! Trap: `Debug` of these messages hides secrets, `serde` does not. Print them only with `{:?}`.

mod depth;
pub mod json;
pub mod metadata;
mod shape;

use std::{collections::HashSet, fmt, sync::LazyLock};

pub use depth::Depth;
pub use shape::{Form, Shape, Shaped};

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/services.rs"));
    include!(concat!(env!("OUT_DIR"), "/impls.rs"));
}

pub use generated::stytch;

/// The encoded `FileDescriptorSet` of the contract with its comments, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Returns the full name of an RPC as a static string; `None` for a name that is not in the
/// contract.
pub fn method(name: &str) -> Option<&'static str> {
    static METHODS: LazyLock<HashSet<String>> = LazyLock::new(|| methods().into_iter().collect());
    METHODS.get(name).map(String::as_str)
}

/// Returns the full name of every RPC, as in `stytch.b2b.totp.v1.TotpService/Create`.
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
    /// The contract's comment on the field, as one paragraph.
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

/// What all responses have in common. Implemented by `build.rs`.
pub trait StytchResponse: prost::Message + Shaped {
    /// Returns Stytch's id of the call; empty if it sent none.
    fn request_id(&self) -> &str;

    /// Returns the id of the TOTP registration, if the response type has one at its top level.
    fn totp_registration_id(&self) -> Option<&str>;
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
