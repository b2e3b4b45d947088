//! The tables that drive the translation: the fields of each message, as `build.rs` finds them in
//! the contract.

use super::scan::is_equal;
use crate::proto::Depth;

/// The most fields of a message.
pub(super) const MAX_FIELDS: usize = 64;
/// The longest name of a field, in bytes.
const MAX_NAME: usize = 62;

/// A message that can be translated from JSON. Implemented by `build.rs`.
pub trait FromJson {
    /// The fields of the message.
    const TABLE: &'static Table;
}

/// The fields of a message.
#[derive(Debug)]
pub struct Table {
    /// The fields, in the order of the contract.
    fields: &'static [Field],
    /// The indexes of the fields, sorted by the lengths of their names.
    by_length: [u8; MAX_FIELDS],
    /// For each length, how many fields have a shorter name.
    shorter: [u8; MAX_NAME + 2],
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name, in JSON and in the contract.
    pub name: &'static str,
    /// The start of a member with this name in compact JSON: the quoted name and a colon.
    pub member: &'static str,
    /// Its number in the contract.
    pub number: u32,
    /// The JSON that fits.
    pub kind: Kind,
    /// How often it may be set.
    pub label: Label,
}

/// The JSON that fits a field.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
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
    /// An object with these fields.
    Message(&'static Table),
}

/// How often a field may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Once. The default value means the same as an absent field, and is not written.
    Implicit,
    /// Once. The default value differs from an absent field.
    Optional,
    /// Any number of times.
    Repeated,
}

impl Table {
    /// Creates the table of these fields.
    ///
    /// # Panics
    ///
    /// When it is evaluated, which is at compile time, if there are more than 64 fields, or a name
    /// is longer than 62 bytes.
    #[allow(clippy::cast_possible_truncation)] // at most the number of fields
    pub const fn new(fields: &'static [Field]) -> Self {
        assert!(fields.len() <= MAX_FIELDS, "too many fields");
        assert!(MAX_FIELDS <= u64::BITS as usize, "a bit for each field");
        let mut by_length = [0; MAX_FIELDS];
        let mut shorter = [0; MAX_NAME + 2];
        let (mut length, mut sorted) = (0, 0);
        while length < shorter.len() {
            shorter[length] = sorted as u8;
            let mut at = 0;
            while at < fields.len() {
                if fields[at].name.len() == length {
                    by_length[sorted] = at as u8;
                    sorted += 1;
                }
                at += 1;
            }
            length += 1;
        }
        assert!(shorter[MAX_NAME + 1] as usize == fields.len(), "a name is too long");
        Self { fields, by_length, shorter }
    }

    /// Returns the fields.
    pub fn fields(&self) -> &'static [Field] {
        self.fields
    }

    /// Returns the field with this name, and its index.
    pub fn find(&self, name: &[u8]) -> Option<(usize, &'static Field)> {
        let (start, end) = (*self.shorter.get(name.len())?, *self.shorter.get(name.len() + 1)?);
        let same_length = self.by_length.get(usize::from(start)..usize::from(end))?;
        same_length.iter().find_map(|index| {
            let index = usize::from(*index);
            let field = self.fields.get(index)?;
            is_equal(field.name.as_bytes(), name).then_some((index, field))
        })
    }

    /// Returns the field with this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        Some(self.find(name.as_bytes())?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::stytch::b2b::totp::v1::CreateResponse;

    #[test]
    fn a_table_finds_each_field_by_its_name_and_nothing_else() {
        let table = CreateResponse::TABLE;
        for (at, field) in table.fields().iter().enumerate() {
            let found =
                table.find(field.name.as_bytes()).map(|(index, field)| (index, field.number));
            assert_eq!(found, Some((at, field.number)), "{}", field.name);
            assert_eq!(field.member, format!("\"{}\":", field.name));
        }
        let long = "x".repeat(1000);
        for name in ["", "secre", "secrets", "Secret", "secreT", &long] {
            assert!(table.find(name.as_bytes()).is_none(), "{name}");
        }
    }
}
