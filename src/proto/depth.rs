//! How deep messages may be nested.

/// The depth of a message: the number of messages around it.
///
/// Clients in C++, Java, Python, C#, Rust and others refuse a whole message if any part of it is
/// deeper than [`Depth::LIMIT`]. Within free-form JSON, each object takes three levels (`Value`,
/// `Struct`, `FieldsEntry`) and each array two (`Value`, `ListValue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth(pub usize);

impl Depth {
    /// The depth of the outermost message.
    pub const TOP: Self = Self(0);
    /// The maximum depth that every client accepts.
    pub const LIMIT: usize = 100;

    /// Returns the depth of a field's `Value` in a `Struct` at this depth; `None` beyond the limit.
    pub fn of_member(self) -> Option<Self> {
        self.below(2)
    }

    /// Returns the depth of an entry's `Value` in a `ListValue` at this depth; `None` beyond the
    /// limit.
    pub fn of_entry(self) -> Option<Self> {
        self.below(1)
    }

    /// Returns the depth of the `Struct` or `ListValue` in a `Value` at this depth; `None` beyond
    /// the limit.
    pub fn of_content(self) -> Option<Self> {
        self.below(1)
    }

    fn below(self, levels: usize) -> Option<Self> {
        (self.0 + levels <= Self::LIMIT).then_some(Self(self.0 + levels))
    }
}
