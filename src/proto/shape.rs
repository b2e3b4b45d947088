//! The messages as data: what JSON fits each field, and how deep a message may be.
//!
//! The serde of the generated messages (`json.rs`) reads what fits as a whole. This describes the same to a
//! reader that leaves out what does not (`stytch/lenient.rs`).

use super::json;

/// A message whose JSON can be described. Implemented by `build.rs`.
pub trait Shaped {
    /// Its fields.
    const SHAPE: &'static Shape;
}

/// The fields of a message: Stytch's name, and what fits.
pub type Shape = [(&'static str, Form)];

/// What JSON fits.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A string.
    Text,
    /// True or false.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// An RFC 3339 timestamp in a string.
    Timestamp,
    /// Any object, which is a `Struct` at this depth.
    Object(Depth),
    /// Anything, which is a `Value` at this depth.
    Any(Depth),
    /// An object with these fields.
    Message(&'static Shape),
    /// A list of what fits the inner form.
    List(&'static Form),
}

impl Form {
    /// Whether `token`, which is neither an object nor an array, fits.
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

/// How many messages an encoded message is nested in.
///
/// Clients in C++, Java, Python, C#, Rust, ... refuse a whole message when a part of it is deeper than
/// [`Depth::LIMIT`]. Of JSON, each object costs three levels (`Value`, `Struct`, `FieldsEntry`) and each array two
/// (`Value`, `ListValue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth(pub usize);

impl Depth {
    /// Of the outermost message.
    pub const TOP: Self = Self(0);
    /// The deepest that every client reads.
    pub const LIMIT: usize = 100;

    /// Of the `Value` of a member, for a `Struct` at this depth, if clients can read it.
    pub fn of_member(self) -> Option<Self> {
        self.below(2)
    }

    /// Of the `Value` of an entry, for a `ListValue` at this depth.
    pub fn of_entry(self) -> Option<Self> {
        self.below(1)
    }

    /// Of the `Struct` or `ListValue` in a `Value` at this depth.
    pub fn of_content(self) -> Option<Self> {
        self.below(1)
    }

    fn below(self, levels: usize) -> Option<Self> {
        (self.0 + levels <= Self::LIMIT).then_some(Self(self.0 + levels))
    }
}
