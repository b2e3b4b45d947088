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

/// Whether this is white space, as JSON has it. Other control bytes, such as a form feed, are not: they are part of an
/// odd word.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
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
    ///
    /// It starts at a byte of its own, which belongs to it whatever it is, so that who calls it gets on.
    fn word(&mut self) {
        let is_end = |byte: &u8| is_blank(*byte) || b"\"{}[],:".contains(byte);
        let rest = &self.body[self.at + 1..];
        self.at += 1 + rest.iter().position(is_end).unwrap_or(rest.len());
    }

    /// The next byte that is no white space.
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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    use super::{
        super::{decode::decode, error::Error, mask::Mask},
        *,
    };
    use crate::proto::stytch::b2b::totp::v1::CreateResponse;

    /// The result of `work`, which fails the test if it takes longer than any body should.
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

    /// A success with this body, and the paths of what was left out.
    #[track_caller]
    fn success(body: &[u8]) -> Result<(CreateResponse, Vec<String>), Unreadable> {
        in_time(body, |body| {
            let mut left_out = Vec::new();
            let read = decode(body, |path| left_out.push(path.to_owned()));
            read.map(|answer| (answer, left_out))
        })
    }

    /// A failure with this body.
    #[track_caller]
    fn failure(body: &[u8]) -> Error {
        in_time(body, |body| {
            let mask = || Mask::new([]);
            Error::from_answer(StatusCode::BAD_REQUEST, &HeaderMap::new(), Ok(body), mask)
        })
    }

    /// `text` with `byte` in the place of each `@`.
    fn with_byte(text: &str, byte: u8) -> Vec<u8> {
        text.bytes().map(|it| if it == b'@' { byte } else { it }).collect()
    }

    /// Bytes that stand nowhere in JSON but in strings, many of which some function takes for white space.
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

    /// A good body in which some bytes are replaced, taken out or put in.
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
        // A body that hangs is not made smaller: each attempt would hang, too.
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
