//! Translates free-form JSON into `google.protobuf.Struct`.

use super::{
    message::Translator,
    scan::{NotJson, Token},
    table::Label,
};
use crate::proto::Depth;

// The field numbers of google/protobuf/struct.proto.
const STRUCT_FIELDS: u32 = 1;
const ENTRY_KEY: u32 = 1;
const ENTRY_VALUE: u32 = 2;
const NULL_VALUE: u32 = 1;
const NUMBER_VALUE: u32 = 2;
const STRING_VALUE: u32 = 3;
const BOOL_VALUE: u32 = 4;
const STRUCT_VALUE: u32 = 5;
const LIST_VALUE: u32 = 6;
const LIST_VALUES: u32 = 1;

impl<'a> Translator<'a, '_> {
    /// Translates an object into the fields of a `Struct` at `depth`.
    pub(super) fn object(&mut self, depth: Depth) -> Result<(), NotJson> {
        self.members(|this| {
            let start = this.wire.len();
            let entry = this.wire.open(STRUCT_FIELDS);
            let is_named = this.name()?;
            this.json.expect(b':')?;
            let is_written = match depth.of_member() {
                Some(depth) if is_named => this.nested_value(ENTRY_VALUE, depth)?,
                _ => {
                    this.leave_out()?;
                    false
                }
            };
            if is_written {
                this.wire.close(entry);
            } else {
                this.wire.truncate(start);
            }
            Ok(())
        })
    }

    /// Translates the name of a member. Returns whether it fits.
    fn name(&mut self) -> Result<bool, NotJson> {
        if self.short_text(ENTRY_KEY, Label::Optional) {
            return Ok(true);
        }
        let name = self.json.text()?.read_bytes();
        if let Some(name) = &name {
            self.wire.text(ENTRY_KEY, name);
        }
        Ok(name.is_some())
    }

    /// Translates an array into the entries of a `ListValue` in a `Value` at `depth`.
    fn list_value(&mut self, depth: Depth) -> Result<(), NotJson> {
        self.entries(|this| match depth.of_entry() {
            Some(depth) => this.nested_value(LIST_VALUES, depth).map(drop),
            None => this.leave_out(),
        })
    }

    /// Translates a value into a `Value` at `depth`, a field of the open message. Returns whether
    /// it fits.
    fn nested_value(&mut self, number: u32, depth: Depth) -> Result<bool, NotJson> {
        let start = self.wire.len();
        let value = self.wire.open(number);
        let is_written = self.free_form_value(depth)?;
        if is_written {
            self.wire.close(value);
        } else {
            self.wire.truncate(start);
        }
        Ok(is_written)
    }

    /// Translates a value into the content of a `Value` at `depth`. Returns whether it fits.
    fn free_form_value(&mut self, depth: Depth) -> Result<bool, NotJson> {
        let bracket = self.json.peek()?;
        if bracket == b'"' && self.short_text(STRING_VALUE, Label::Optional) {
            return Ok(true);
        }
        if !matches!(bracket, b'{' | b'[') {
            let token = self.json.value()?;
            let is_written = self.free_form_scalar(&token).is_some();
            if !is_written {
                self.malformed();
            }
            return Ok(is_written);
        }
        let Some(depth) = depth.of_content() else {
            self.leave_out()?;
            return Ok(false);
        };
        if bracket == b'{' {
            let open = self.wire.open(STRUCT_VALUE);
            self.object(depth)?;
            self.wire.close(open);
        } else {
            let open = self.wire.open(LIST_VALUE);
            self.list_value(depth)?;
            self.wire.close(open);
        }
        Ok(true)
    }

    /// Writes a value that is neither an object nor an array; `None` if it is malformed.
    fn free_form_scalar(&mut self, token: &Token<'a>) -> Option<()> {
        match token {
            Token::Text(text) => self.wire.text(STRING_VALUE, &text.read_bytes()?),
            Token::Word(b"null") => self.wire.int32(NULL_VALUE, 0),
            Token::Word(b"true") => self.wire.int32(BOOL_VALUE, 1),
            Token::Word(b"false") => self.wire.int32(BOOL_VALUE, 0),
            Token::Word(word) => {
                self.wire.double(NUMBER_VALUE, serde_json::from_slice(word).ok()?);
            }
            Token::Nested => return None,
        }
        Some(())
    }

    /// Reads a value that does not fit, and reports it.
    fn leave_out(&mut self) -> Result<(), NotJson> {
        self.json.value()?;
        self.malformed();
        Ok(())
    }
}
