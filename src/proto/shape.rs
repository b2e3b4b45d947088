//! The messages as data: which JSON fits each field.
//!
//! The serde of the generated messages (`json.rs`) accepts a message as a whole or not at all. The
//! shapes describe the same to a reader that leaves out what does not fit
//! (`stytch/decode/lenient.rs`).

use super::{depth::Depth, json};

/// A message with a description of its JSON. Implemented by `build.rs`.
pub trait Shaped {
    /// The fields of the message.
    const SHAPE: &'static Shape;
}

/// The fields of a message: the name of each, and the JSON that fits.
pub type Shape = [(&'static str, Form)];

/// The JSON that fits a field.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A string.
    Text,
    /// True or false.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// An RFC 3339 timestamp in a string.
    Timestamp,
    /// Any object, as a `Struct` at this depth.
    Object(Depth),
    /// Any value, as a `Value` at this depth.
    Any(Depth),
    /// An object with these fields.
    Message(&'static Shape),
    /// A list whose entries have the inner form.
    List(&'static Form),
}

impl Form {
    /// Returns whether `token`, neither an object nor an array, fits.
    pub fn takes(&self, token: &[u8]) -> bool {
        match self {
            Self::Text => json::fits::<String>(token),
            Self::Bool => json::fits::<bool>(token),
            Self::Int32 => json::fits::<i32>(token),
            Self::Timestamp => json::timestamp::fits(token),
            Self::Any(_) => json::fits::<serde_json::Value>(token),
            Self::Object(_) | Self::Message(_) | Self::List(_) => false,
        }
    }
}
