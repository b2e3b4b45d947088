//! Reading JSON without what does not fit.
//!
//! The reader copies what fits a [`Form`] and leaves out the rest, each odd field by itself: values of another
//! type, strings and numbers that `serde_json` refuses, and what would be too deep for clients. It goes over the
//! text once and knows only where strings, objects and arrays end; whether a string or a number is a good one, the
//! form says.
//!
//! Rules that are not obvious:
//! - A null is an absent field. In a free-form object it is a value.
//! - Of a field that stands there twice, the last one that fits counts.
//! - A byte order mark before the object is skipped, and what follows the object is left out.

use std::{borrow::Cow, fmt::Write as _, ops::Range};

use super::error::Unreadable;
use crate::proto::{Depth, Form, Shape};

/// How many odd fields are reported one by one; of further ones, only the number.
pub(super) const MAX_REPORTS: usize = 64;
/// How much of a field's path is reported. Its names may be foreign.
const MAX_PATH: usize = 256;

/// `body`, which must be an object, with nothing in it that does not fit `form`. `left_out` is told the path of
/// each field that did not, and never its value.
///
/// # Errors
///
/// When it is no JSON object, or ends within it.
pub(super) fn fitting(
    body: &[u8],
    form: &Form,
    free_form: FreeForm,
    left_out: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, Unreadable> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reader = Reader {
        body,
        at: 0,
        fitting: Vec::with_capacity(body.len()),
        path: Vec::new(),
        odd: 0,
        free_form,
        left_out,
    };
    if reader.peek()? != b'{' || !reader.value(form)? {
        return Err(Unreadable::NotJson);
    }
    if reader.peek().is_ok() {
        reader.path.push(Step::Name(b"\"(what follows the object)\""));
        reader.report();
    }
    if reader.odd > MAX_REPORTS {
        let more = format!("({} more)", reader.odd - MAX_REPORTS);
        (reader.left_out)(&more);
    }
    Ok(reader.fitting)
}

/// Whether free-form objects fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FreeForm {
    Kept,
    LeftOut,
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    fitting: Vec<u8>,
    path: Vec<Step<'a>>,
    odd: usize,
    free_form: FreeForm,
    left_out: &'a mut dyn FnMut(&str),
}

/// A step of a path.
enum Step<'a> {
    /// A name, as the string stands in the text.
    Name(&'a [u8]),
    Index(usize),
}

impl<'a> Reader<'a> {
    /// Reads a value, and copies what of it fits. Says whether it is there.
    fn value(&mut self, form: &Form) -> Result<bool, Unreadable> {
        match (self.peek()?, form) {
            (b'{', Form::Message(shape)) => self.message(shape)?,
            (b'[', Form::List(entry)) => self.list(Some(entry))?,
            (b'{', Form::Object(depth)) if self.free_form == FreeForm::Kept => {
                self.object(*depth)?
            }
            (bracket @ (b'{' | b'['), Form::Any(depth)) => match (depth.of_content(), bracket) {
                (None, _) => return self.leave_out(),
                (Some(depth), b'{') => self.object(depth)?,
                (Some(depth), _) => self.list(depth.of_entry().map(Form::Any).as_ref())?,
            },
            (b'{' | b'[', _) => return self.leave_out(),
            _ => {
                let token = self.skip()?;
                if !form.takes(token) {
                    self.report();
                    return Ok(false);
                }
                self.fitting.extend_from_slice(token);
            }
        }
        Ok(true)
    }

    fn message(&mut self, shape: &Shape) -> Result<(), Unreadable> {
        let mut read: Vec<Option<Range<usize>>> = vec![None; shape.len()];
        self.members(|reader, name| {
            let text: Option<Cow<'_, str>> = serde_json::from_slice(name).ok();
            let field = shape.iter().position(|(field, _)| Some(*field) == text.as_deref());
            let (Some(field), false) = (field, reader.next_is(b"null")) else {
                // Unknown, or as good as absent.
                return reader.skip().map(drop);
            };
            let start = reader.fitting.len();
            let (name, form) = &shape[field];
            reader.fitting.extend_from_slice(format!("\"{name}\"").as_bytes());
            if !reader.member(start, form)? {
                return Ok(());
            }
            if let Some(earlier) = read[field].replace(start..reader.fitting.len()) {
                reader.fitting[earlier].fill(b' ');
                reader.report();
            }
            Ok(())
        })
    }

    /// A free-form object, which is a `Struct` at `depth`.
    fn object(&mut self, depth: Depth) -> Result<(), Unreadable> {
        let form = depth.of_member().map(Form::Any);
        self.members(|reader, name| match &form {
            Some(form) if Form::Text.takes(name) => {
                let start = reader.fitting.len();
                reader.fitting.extend_from_slice(name);
                reader.member(start, form).map(drop)
            }
            _ => reader.leave_out().map(drop),
        })
    }

    /// The value of a member whose name has been copied from `start` on.
    fn member(&mut self, start: usize, form: &Form) -> Result<bool, Unreadable> {
        self.fitting.push(b':');
        let fits = self.value(form)?;
        match fits {
            true => self.fitting.push(b','),
            false => self.fitting.truncate(start),
        }
        Ok(fits)
    }

    /// Reads an object; `member` reads the value of each member.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.sequence(b'{', b'}', |reader, _| {
            let name = reader.string()?;
            reader.expect(b':')?;
            reader.path.push(Step::Name(name));
            member(reader, name)?;
            reader.path.pop();
            Ok(())
        })
    }

    /// Reads an array whose entries have this form, if there may be any.
    fn list(&mut self, form: Option<&Form>) -> Result<(), Unreadable> {
        self.sequence(b'[', b']', |reader, index| {
            reader.path.push(Step::Index(index));
            let fits = match form {
                Some(form) => reader.value(form)?,
                None => reader.leave_out()?,
            };
            reader.path.pop();
            if fits {
                reader.fitting.push(b',');
            }
            Ok(())
        })
    }

    /// Reads from one bracket to the other; `entry` reads what is between two commas.
    fn sequence(
        &mut self,
        open: u8,
        close: u8,
        mut entry: impl FnMut(&mut Self, usize) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.expect(open)?;
        self.fitting.push(open);
        if self.peek()? == close {
            self.at += 1;
        } else {
            for index in 0.. {
                entry(self, index)?;
                if self.peek()? == close {
                    self.at += 1;
                    break;
                }
                self.expect(b',')?;
            }
        }
        if self.fitting.last() == Some(&b',') {
            self.fitting.pop();
        }
        self.fitting.push(close);
        Ok(())
    }

    /// Reads a value that does not fit.
    fn leave_out(&mut self) -> Result<bool, Unreadable> {
        self.skip()?;
        self.report();
        Ok(false)
    }

    /// Reads a value of any kind, however deep. What is inside an object or array is matched by brackets only.
    fn skip(&mut self) -> Result<&'a [u8], Unreadable> {
        let mut open = Vec::new();
        self.peek()?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' | b'}' | b']' | b',' | b':' => self.punctuation(&mut open)?,
                _ => self.word(),
            }
            if open.is_empty() {
                return Ok(&self.body[start..self.at]);
            }
        }
    }

    /// Reads one byte of punctuation, where `open` holds what closes the brackets around it.
    fn punctuation(&mut self, open: &mut Vec<u8>) -> Result<(), Unreadable> {
        match self.body[self.at] {
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b',' | b':' if !open.is_empty() => {}
            close if open.pop() == Some(close) => {}
            _ => return Err(Unreadable::NotJson),
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a string up to its closing quote, and gives it with its quotes.
    fn string(&mut self) -> Result<&'a [u8], Unreadable> {
        self.expect(b'"')?;
        let start = self.at - 1;
        loop {
            match self.body.get(self.at) {
                None => return Err(Unreadable::NotJson),
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(&self.body[start..self.at])
    }

    /// Reads what is neither a string nor punctuation: a number, true, false, null, or what is none of them.
    fn word(&mut self) {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"\"{}[],:".contains(byte);
        let rest = &self.body[self.at..];
        self.at += rest.iter().position(is_end).unwrap_or(rest.len());
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Result<u8, Unreadable> {
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.body[self.at..].iter().take_while(is_blank).count();
        self.body.get(self.at).copied().ok_or(Unreadable::NotJson)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unreadable> {
        if self.peek()? != byte {
            return Err(Unreadable::NotJson);
        }
        self.at += 1;
        Ok(())
    }

    fn next_is(&mut self, word: &[u8]) -> bool {
        self.peek().is_ok() && self.body[self.at..].starts_with(word)
    }

    /// Reports what stands at the path.
    fn report(&mut self) {
        if self.odd < MAX_REPORTS {
            let path = self.path();
            (self.left_out)(&path);
        }
        self.odd += 1;
    }

    /// The path, cut where it becomes too long.
    fn path(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            // Writing to a string does not fail.
            let _ = match step {
                Step::Index(index) => write!(text, "[{index}]"),
                Step::Name(name) => {
                    let name: Option<Cow<'_, str>> = serde_json::from_slice(name).ok();
                    let dot = if text.is_empty() { "" } else { "." };
                    write!(text, "{dot}{}", name.as_deref().unwrap_or("(unreadable)"))
                }
            };
            if text.len() > MAX_PATH {
                text.truncate(text.floor_char_boundary(MAX_PATH));
                text.push('…');
                break;
            }
        }
        text
    }
}
