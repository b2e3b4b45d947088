//! A lenient JSON reader, which leaves out what does not fit.
//!
//! The reader copies the parts of a JSON text that fit a [`Form`] and leaves out each malformed
//! field on its own: a value of another type, a string or number that `serde_json` refuses, or a
//! value nested too deeply for clients. It makes one pass over the text. The reader itself knows
//! only where strings, objects and arrays end; the form decides whether a string or number is
//! valid.
//!
//! Rules that are not obvious:
//! - A null counts as an absent field, except in a free-form object, where it is a value.
//! - Of a duplicate field, the last one that fits counts.
//! - A byte order mark before the object is skipped, and text after the object is left out.

use std::{borrow::Cow, fmt::Write as _, ops::Range};

use crate::{
    proto::{Depth, Form, Shape},
    stytch::error::Unreadable,
};

/// The number of malformed fields to report one by one. Of any more, only the count is reported.
pub(super) const MAX_REPORTS: usize = 64;
/// The longest path to report, in bytes. The names in it may be of any length.
const MAX_PATH: usize = 256;

/// Copies the parts of the JSON object `body` that fit `form`. Calls `left_out` with the path of
/// each field that does not fit, never with its value.
///
/// # Errors
///
/// If `body` is not a JSON object, or ends within it.
pub(super) fn copy_fitting(
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
        malformed: 0,
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
    if reader.malformed > MAX_REPORTS {
        let more = format!("({} more)", reader.malformed - MAX_REPORTS);
        (reader.left_out)(&more);
    }
    Ok(reader.fitting)
}

/// Whether to copy free-form objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FreeForm {
    /// Copy them.
    Kept,
    /// Leave them out and report them.
    LeftOut,
}

struct Reader<'a> {
    body: &'a [u8],
    /// The position in `body`.
    at: usize,
    /// The copied parts.
    fitting: Vec<u8>,
    path: Vec<Step<'a>>,
    /// The number of values left out so far.
    malformed: usize,
    free_form: FreeForm,
    left_out: &'a mut dyn FnMut(&str),
}

/// Returns whether `byte` is JSON white space. Other control bytes, such as a form feed, are part
/// of a malformed word.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// One step of a path.
enum Step<'a> {
    /// A field name: the raw string with its quotes.
    Name(&'a [u8]),
    Index(usize),
}

impl<'a> Reader<'a> {
    /// Reads a value and copies what fits. Returns whether anything was copied.
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
                // An unknown field, or a null, which counts as absent.
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

    /// Reads a free-form object, a `Struct` at `depth`.
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

    /// Reads the value of a member whose name has been copied to `start`.
    fn member(&mut self, start: usize, form: &Form) -> Result<bool, Unreadable> {
        self.fitting.push(b':');
        let fits = self.value(form)?;
        match fits {
            true => self.fitting.push(b','),
            false => self.fitting.truncate(start),
        }
        Ok(fits)
    }

    /// Reads an object. `member` reads the value of each member.
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

    /// Reads an array whose entries have this form; `None` if entries would be too deep.
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

    /// Reads from the opening to the closing bracket. `entry` reads each part between commas.
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

    /// Reads a value that does not fit, and reports it.
    fn leave_out(&mut self) -> Result<bool, Unreadable> {
        self.skip()?;
        self.report();
        Ok(false)
    }

    /// Reads a value of any kind and depth. Within an object or array, only the brackets must
    /// match.
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

    /// Reads one byte of punctuation. `open` holds the closing brackets of the enclosing values.
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

    /// Reads a string up to its closing quote. Returns it with its quotes.
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

    /// Reads a word, anything that is neither a string nor punctuation: a number, true, false, null
    /// or garbage. Always consumes at least one byte, so that the caller makes progress.
    fn word(&mut self) {
        let is_end = |byte: &u8| is_blank(*byte) || b"\"{}[],:".contains(byte);
        let rest = &self.body[self.at + 1..];
        self.at += 1 + rest.iter().position(is_end).unwrap_or(rest.len());
    }

    /// Skips white space and returns the next byte.
    fn peek(&mut self) -> Result<u8, Unreadable> {
        self.at += self.body[self.at..].iter().take_while(|byte| is_blank(**byte)).count();
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

    /// Reports the current path.
    fn report(&mut self) {
        if self.malformed < MAX_REPORTS {
            let path = self.path();
            (self.left_out)(&path);
        }
        self.malformed += 1;
    }

    /// Returns the current path, truncated if it is too long.
    fn path(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            // Writing to a string cannot fail.
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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::{super::success::decode, *};
    use crate::{
        proto::stytch::b2b::totp::v1::CreateResponse,
        stytch::{Error, Mask},
    };

    /// Returns the result of `work`, and fails the test if it takes longer than any body should.
    #[track_caller]
    fn in_time<T: Send + 'static>(
        body: &[u8],
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> T {
        let (done, result) = mpsc::channel();
        let given = body.to_vec();
        thread::spawn(move || done.send(work(&given)));
        let result = result.recv_timeout(Duration::from_secs(10));
        result.unwrap_or_else(|error| panic!("{error} for {:?}", body.escape_ascii().to_string()))
    }

    /// Decodes the body of a success. Returns the paths of the fields left unset too.
    #[track_caller]
    fn success(body: &[u8]) -> Result<(CreateResponse, Vec<String>), Unreadable> {
        in_time(body, |body| {
            let mut left_out = Vec::new();
            let read = decode(body, |path| left_out.push(path.to_owned()));
            read.map(|answer| (answer, left_out))
        })
    }

    /// Classifies a failure with this body.
    #[track_caller]
    fn failure(body: &[u8]) -> Error {
        in_time(body, |body| {
            let mask = || Mask::new([]);
            Error::from_response(StatusCode::BAD_REQUEST, &HeaderMap::new(), Ok(body), mask)
        })
    }

    /// Returns `text` with each `@` replaced by `byte`.
    fn with_byte(text: &str, byte: u8) -> Vec<u8> {
        text.bytes().map(|it| if it == b'@' { byte } else { it }).collect()
    }

    /// Returns the bytes that JSON allows only in strings. Many of them count as white space
    /// elsewhere.
    fn odd_bytes() -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|byte| !byte.is_ascii_graphic() && !is_blank(*byte))
    }

    #[test]
    fn a_byte_that_is_not_of_json_costs_the_value_in_which_it_stands() {
        for (text, path) in [
            (r#"{"secret":"S","x":[@]}"#, None),
            (r#"{"secret":"S","x":@}"#, None),
            (r#"{"x":{"a":@1,"b":[2@,@,@ @3]@},"secret":"S"}"#, None),
            (r#"{"secret":"S","member":{"name":@}}"#, Some("member.name")),
            (r#"{"secret":"S","member":[@]}"#, Some("member")),
            (
                r#"{"secret":"S","member":{"trusted_metadata":{"a":@1}}}"#,
                Some("member.trusted_metadata.a"),
            ),
            (
                r#"{"secret":"S","member":{"trusted_metadata":{"a":[1,@]}}}"#,
                Some("member.trusted_metadata.a[1]"),
            ),
            (r#"{"recovery_codes":["a",@,"b"],"secret":"S"}"#, Some("recovery_codes[1]")),
            (r#"{"secret":"S"}@"#, Some("(what follows the object)")),
        ] {
            for byte in odd_bytes() {
                let (answer, left_out) = success(&with_byte(text, byte)).expect("readable");

                assert_eq!(answer.secret, "S", "{byte:#x} in {text}");
                assert_eq!(left_out, Vec::from_iter(path), "{byte:#x} in {text}");
            }
        }
    }

    #[test]
    fn a_byte_that_is_not_of_json_between_the_parts_of_an_object_makes_it_unreadable() {
        for text in [
            r#"@{"secret":"S"}"#,
            r#"{@"secret":"S"}"#,
            r#"{"secret"@:"S"}"#,
            r#"{"secret":@"S"}"#,
            r#"{"secret":"S"@}"#,
            r#"{"secret":"S"@,"x":1}"#,
            r#"{"secret":"S","x":[@"#,
            r#"{"secret":"S","x":@"#,
        ] {
            for byte in odd_bytes() {
                assert_eq!(success(&with_byte(text, byte)), Err(Unreadable::NotJson), "{text}");
            }
        }
    }

    #[test]
    fn a_byte_that_is_not_of_json_does_not_cost_the_type_of_an_error() {
        for text in [
            r#"{"error_type":"x","error_details":[{"a":@1}]}"#,
            r#"{"error_type":"x","error_details":{"a":[@]}}"#,
            r#"{"error_message":@,"error_type":"x"}"#,
            r#"{"error_type":"x","status_code":@400}"#,
            r#"{"error_type":"x"}@"#,
        ] {
            for byte in odd_bytes() {
                let error = failure(&with_byte(text, byte));

                let api = error.api().expect("Stytch's");
                assert_eq!(api.error_type, "x", "{byte:#x} in {text}");
            }
        }
    }

    /// Generates valid bodies with some bytes replaced, removed or inserted.
    fn mutants() -> impl Strategy<Value = Vec<u8>> {
        let good = proptest::sample::select(
            &[
                r#"{"secret": "S", "member": {"name": "N", "trusted_metadata": {"a": [1, {}]}}}"#,
                r#"{"secret": "S", "recovery_codes": ["a", "b"], "x": [{"y": [null, -1e3]}, "z"]}"#,
                r#"{"error_type": "x", "error_details": {"a": [1, "b"]}, "status_code": 400}"#,
            ][..],
        );
        let byte = prop_oneof![
            proptest::sample::select(b"{}[],:\"\\ \n\x00\x0b\x0c\x1c\x7f\x85\xa0".as_slice()),
            any::<u8>(),
        ];
        let edit = (any::<proptest::sample::Index>(), 0..2_usize, proptest::option::of(byte));
        (good, proptest::collection::vec(edit, 1..8)).prop_map(|(good, edits)| {
            let mut body = good.as_bytes().to_vec();
            for (at, taken, put) in edits {
                let at = at.index(body.len() - 1);
                body.splice(at..at + taken, put);
            }
            body
        })
    }

    proptest! {
        // No shrinking: if a body hangs the reader, so would each smaller one.
        #![proptest_config(ProptestConfig { max_shrink_iters: 0, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn any_body_is_read_in_bounded_time(
            body in prop_oneof![mutants(), proptest::collection::vec(any::<u8>(), 0..200)],
        ) {
            let _ = success(&body);
            let _ = failure(&body);
            let inside = [b"{\"secret\":\"S\",\"x\":[", &body[..], b"]}"].concat();
            let _ = success(&inside);
        }
    }
}
