//! Translates the messages of the contract.

use std::ops::RangeInclusive;

use prost_types::Timestamp;

use super::{
    report::{Reports, Step},
    scan::{NotJson, Scanner, Text, Token},
    table::{Field, Kind, Label, MAX_FIELDS, Table},
    wire::Wire,
};

/// The years 1 to 9999 in seconds since 1970, the range of `google.protobuf.Timestamp`.
const YEARS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Whether to translate free-form objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FreeForm {
    /// Translate them.
    Kept,
    /// Leave them out and report them.
    LeftOut,
}

/// A translation in progress.
pub(super) struct Translator<'a, 'r> {
    pub(super) json: Scanner<'a>,
    pub(super) wire: Wire,
    pub(super) reports: Reports<'r>,
    free_form: FreeForm,
}

/// The fields of an open message that are set.
struct Set {
    /// A bit for each field.
    fields: u64,
    /// For each that is set, where its value was written.
    starts: [usize; MAX_FIELDS],
}

impl Set {
    /// Records where a value was written. Returns whether the field was set before; then the
    /// earlier start stays.
    #[inline]
    fn insert(&mut self, index: usize, start: usize) -> bool {
        let bit = 1 << index;
        let is_duplicate = self.fields & bit != 0;
        if !is_duplicate {
            self.fields |= bit;
            self.starts[index] = start;
        }
        is_duplicate
    }
}

/// How a value fits a field.
enum Fit {
    /// It was written.
    Fits,
    /// It is null.
    Null,
    /// It does not fit, and nothing was written.
    Not,
}

impl<'a, 'r> Translator<'a, 'r> {
    pub(super) fn new(json: &'a [u8], free_form: FreeForm, reports: Reports<'r>) -> Self {
        Self {
            json: Scanner::new(json),
            // Few messages are longer than their JSON: those with many short free-form values.
            wire: Wire::with_capacity(json.len()),
            reports,
            free_form,
        }
    }

    /// Translates the text, which must be an object. Returns the message with its prefix.
    pub(super) fn translate(mut self, table: &Table) -> Result<Vec<u8>, NotJson> {
        self.message(table)?;
        if self.json.peek().is_ok() {
            self.reports.go_to(Step::End);
            self.malformed();
        }
        self.reports.finish(&self.json);
        Ok(self.wire.into_frame())
    }

    fn message(&mut self, table: &Table) -> Result<(), NotJson> {
        let mut set = Set { fields: 0, starts: [0; MAX_FIELDS] };
        // Many fields come in the order of the contract.
        let mut next = 0;
        self.reports.open();
        let mut more = self.json.open(b'{', b'}')?;
        while more {
            match self.find_field(table, next)? {
                Some((index, field)) => {
                    let start = self.wire.len();
                    if self.field(field)? && set.insert(index, start) {
                        self.replace(field, &mut set, index, start);
                    }
                    next = index + 1;
                }
                None => {
                    self.json.value()?;
                    self.reports.unknown(&self.json);
                }
            }
            more = self.json.more(b'}')?;
        }
        self.reports.close();
        Ok(())
    }

    /// Reads a name and the colon after it, and returns the field that has the name, with its
    /// index. The field at `next` is the most likely one.
    #[inline]
    fn find_field(
        &mut self,
        table: &Table,
        next: usize,
    ) -> Result<Option<(usize, &'static Field)>, NotJson> {
        let position = self.json.position();
        if let Some(field) = table.fields().get(next)
            && self.json.take(field.member.as_bytes())
        {
            self.reports.go_to(Step::Member(position));
            return Ok(Some((next, field)));
        }
        self.enter_member()?;
        let name = self.json.text()?;
        self.json.expect(b':')?;
        Ok(name.read_bytes().and_then(|name| table.find(&name)))
    }

    /// Removes the earlier value of a duplicate field, whose last value begins at `last`.
    #[cold]
    fn replace(&mut self, field: &Field, set: &mut Set, index: usize, last: usize) {
        self.malformed();
        let start = set.starts[index];
        let length = self.wire.remove_values(field.number, start..last);
        set.starts[index] = last;
        for later in set.starts.iter_mut().filter(|it| **it >= start + length) {
            *later -= length;
        }
    }

    /// Translates the value of a field. Returns whether it fits.
    #[inline]
    fn field(&mut self, field: &Field) -> Result<bool, NotJson> {
        let fit = match field.label {
            Label::Repeated => self.list(field)?,
            Label::Implicit | Label::Optional => self.single(field)?,
        };
        if matches!(fit, Fit::Not) {
            self.malformed();
        }
        Ok(matches!(fit, Fit::Fits))
    }

    fn list(&mut self, field: &Field) -> Result<Fit, NotJson> {
        if self.json.peek()? != b'[' {
            return Ok(match self.json.value()? {
                Token::Word(b"null") => Fit::Null,
                _ => Fit::Not,
            });
        }
        self.entries(|this| {
            if !matches!(this.single(field)?, Fit::Fits) {
                this.malformed();
            }
            Ok(())
        })?;
        Ok(Fit::Fits)
    }

    /// Translates a value, or an entry of a list.
    #[inline(always)]
    fn single(&mut self, field: &Field) -> Result<Fit, NotJson> {
        match (self.json.peek()?, field.kind) {
            (b'"', Kind::Text) if self.short_text(field.number, field.label) => Ok(Fit::Fits),
            (b'{', Kind::Message(table)) => {
                let open = self.wire.open(field.number);
                self.message(table)?;
                self.wire.close(open);
                Ok(Fit::Fits)
            }
            (b'{', Kind::Object(depth)) if self.free_form == FreeForm::Kept => {
                let open = self.wire.open(field.number);
                self.object(depth)?;
                self.wire.close(open);
                Ok(Fit::Fits)
            }
            _ => {
                let token = self.json.value()?;
                Ok(self.scalar(field, &token))
            }
        }
    }

    fn scalar(&mut self, field: &Field, token: &Token<'a>) -> Fit {
        match (token, field.kind) {
            (Token::Word(b"null"), _) => Fit::Null,
            (Token::Text(text), Kind::Text) => self.text(field, *text),
            (Token::Text(text), Kind::Timestamp) => self.timestamp(field, *text),
            (Token::Word(b"true"), Kind::Bool) => self.int32(field, 1),
            (Token::Word(b"false"), Kind::Bool) => self.int32(field, 0),
            (Token::Word(word), Kind::Int32) => match serde_json::from_slice(word) {
                Ok(value) => self.int32(field, value),
                Err(_) => Fit::Not,
            },
            _ => Fit::Not,
        }
    }

    /// Translates a text that is short and plain, as most are. Returns whether it was. `label` says
    /// whether an empty one is written.
    #[inline]
    pub(super) fn short_text(&mut self, number: u32, label: Label) -> bool {
        let start = self.wire.len();
        let open = self.wire.open(number);
        match self.json.copy_short_text(self.wire.as_mut()) {
            Some(length) if length > 0 || label != Label::Implicit => {
                self.wire.set_length(open, length);
                true
            }
            length => {
                self.wire.truncate(start);
                length.is_some()
            }
        }
    }

    fn text(&mut self, field: &Field, text: Text<'a>) -> Fit {
        let Some(bytes) = text.read_bytes() else { return Fit::Not };
        if field.label != Label::Implicit || !bytes.is_empty() {
            self.wire.text(field.number, &bytes);
        }
        Fit::Fits
    }

    fn timestamp(&mut self, field: &Field, text: Text<'a>) -> Fit {
        let timestamp = text.read().and_then(|text| text.parse::<Timestamp>().ok());
        let is_in_range = |time: &Timestamp| YEARS.contains(&time.seconds);
        let Some(timestamp) = timestamp.filter(is_in_range) else { return Fit::Not };
        self.wire.timestamp(field.number, &timestamp);
        Fit::Fits
    }

    fn int32(&mut self, field: &Field, value: i32) -> Fit {
        if field.label != Label::Implicit || value != 0 {
            self.wire.int32(field.number, value);
        }
        Fit::Fits
    }

    /// Reports that the value that was read last does not fit.
    #[cold]
    pub(super) fn malformed(&mut self) {
        self.reports.malformed(&self.json);
    }

    /// Enters a member, whose name must be next.
    #[inline]
    fn enter_member(&mut self) -> Result<(), NotJson> {
        if self.json.peek()? != b'"' {
            return Err(NotJson);
        }
        self.reports.go_to(Step::Member(self.json.position()));
        Ok(())
    }

    /// Reads an object. `member` reads each member, from its name on.
    pub(super) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.reports.open();
        let mut more = self.json.open(b'{', b'}')?;
        while more {
            self.enter_member()?;
            member(self)?;
            more = self.json.more(b'}')?;
        }
        self.reports.close();
        Ok(())
    }

    /// Reads an array. `entry` reads each entry.
    pub(super) fn entries(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.reports.open();
        let mut more = self.json.open(b'[', b']')?;
        let mut index = 0;
        while more {
            self.reports.go_to(Step::Index(index));
            entry(self)?;
            more = self.json.more(b']')?;
            index += 1;
        }
        self.reports.close();
        Ok(())
    }
}
