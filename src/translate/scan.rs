//! Scans JSON text. The scanner knows only where strings, objects and arrays end; what a string or
//! a number says is decided by whoever reads it (`message.rs`, `free_form.rs`).

use std::borrow::Cow;

use wide::{bytemuck, i8x16};

/// The bytes of a string that a scan looks at together.
const LANE: usize = 16;
/// How many lanes a short string has at most.
const SHORT: usize = 7;

/// The text is not a JSON object, or ends within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a JSON object")]
pub struct NotJson;

/// A position in a JSON text.
#[derive(Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// A string of a JSON text.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// What is between the quotes.
    raw: &'a [u8],
    /// Whether it is nothing but visible ASCII without escapes.
    is_plain: bool,
}

/// A value of a JSON text, as far as a scanner reads it.
pub(super) enum Token<'a> {
    /// A string.
    Text(Text<'a>),
    /// A number, true, false, null or a malformed word.
    Word(&'a [u8]),
    /// An object or array.
    Nested,
}

impl<'a> Scanner<'a> {
    /// Creates a scanner at the start of `text`, after its byte order mark, if any.
    pub(super) fn new(text: &'a [u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Self { text, at: 0 }
    }

    /// Returns the position in the text.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Returns the string whose opening quote is at this position.
    pub(super) fn text_at(&self, position: usize) -> Option<Text<'a>> {
        Self { at: position, ..*self }.text().ok()
    }

    /// Skips white space and returns the next byte.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, NotJson> {
        match self.text.get(self.at) {
            Some(byte) if *byte > b' ' => Ok(*byte),
            _ => self.peek_beyond_blanks(),
        }
    }

    #[inline(never)]
    fn peek_beyond_blanks(&mut self) -> Result<u8, NotJson> {
        let rest = self.text.get(self.at..).ok_or(NotJson)?;
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        self.at += blanks;
        rest.get(blanks).copied().ok_or(NotJson)
    }

    /// Reads one byte of punctuation.
    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.peek()? != byte {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Reads an opening bracket. Returns whether anything comes before the closing one.
    #[inline]
    pub(super) fn open(&mut self, open: u8, close: u8) -> Result<bool, NotJson> {
        self.expect(open)?;
        let is_empty = self.peek()? == close;
        self.at += usize::from(is_empty);
        Ok(!is_empty)
    }

    /// Reads a comma or a closing bracket. Returns whether it was a comma.
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, NotJson> {
        if self.text.get(self.at) == Some(&b',') {
            self.at += 1;
            return Ok(true);
        }
        match self.peek()? {
            byte if byte == b',' || byte == close => {
                self.at += 1;
                Ok(byte == b',')
            }
            _ => Err(NotJson),
        }
    }

    /// Reads `text` if it is what comes next. Returns whether it was.
    #[inline]
    pub(super) fn take(&mut self, text: &[u8]) -> bool {
        let end = self.at + text.len();
        let is_next = self.text.get(self.at..end).is_some_and(|next| is_equal(text, next));
        if is_next {
            self.at = end;
        }
        is_next
    }

    /// Reads a string that is short and plain, and copies it. Its opening quote is the next byte.
    /// Returns its length, or else reads nothing and leaves a copy of no use.
    ///
    /// This is [`Self::text`] without a second pass and without a call to `memcpy`, which would
    /// take longer than the copy.
    #[inline]
    pub(super) fn copy_short_text(&mut self, copy: &mut Vec<u8>) -> Option<u8> {
        const { assert!(SHORT * LANE < 0x80, "its length takes one byte") };
        let (lanes, _) = self.text.get(self.at + 1..)?.as_chunks();
        let mut before = 0;
        for lane in lanes.iter().take(SHORT) {
            copy.extend_from_slice(lane);
            let odd = odd_bytes(*lane);
            if odd != 0 {
                let end = odd.trailing_zeros() as usize;
                if lane.get(end) != Some(&b'"') {
                    return None;
                }
                let length = before + end;
                copy.truncate(copy.len() - LANE + end);
                self.at += length + 2;
                return u8::try_from(length).ok();
            }
            before += LANE;
        }
        None
    }

    /// Reads a string up to its closing quote. Its opening quote is the next byte.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Text<'a>, NotJson> {
        let start = self.at + 1;
        let at = start + plain_length(self.text.get(start..).ok_or(NotJson)?);
        match (self.text.get(at), self.text.get(start..at)) {
            (Some(b'"'), Some(raw)) => {
                self.at = at + 1;
                Ok(Text { raw, is_plain: true })
            }
            _ => self.odd_text(start, at),
        }
    }

    /// Reads on, from a byte that needs a closer look, in a string that began at `start`.
    #[inline(never)]
    fn odd_text(&mut self, start: usize, mut at: usize) -> Result<Text<'a>, NotJson> {
        loop {
            match self.text.get(at).ok_or(NotJson)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Ok(Text { raw: &self.text[start..at], is_plain: false })
    }

    /// Reads a word, anything that is neither a string nor punctuation: a number, true, false, null
    /// or garbage. Always consumes at least one byte, so that the caller makes progress.
    fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        let rest = &self.text[start + 1..];
        let end = rest.iter().position(|byte| ENDS_WORD[usize::from(*byte)]);
        self.at += 1 + end.unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    /// Reads a value of any kind and depth. Within an object or array, only the brackets must
    /// match.
    pub(super) fn value(&mut self) -> Result<Token<'a>, NotJson> {
        match self.peek()? {
            b'"' => self.text().map(Token::Text),
            b'{' | b'[' => self.nested().map(|()| Token::Nested),
            b'}' | b']' | b',' | b':' => Err(NotJson),
            _ => Ok(Token::Word(self.word())),
        }
    }

    /// Reads an object or array.
    fn nested(&mut self) -> Result<(), NotJson> {
        // The closing brackets of the open objects and arrays.
        let mut open = Vec::new();
        loop {
            match self.peek()? {
                b'"' => drop(self.text()?),
                byte @ (b'{' | b'[' | b'}' | b']' | b',' | b':') => {
                    match byte {
                        b'{' => open.push(b'}'),
                        b'[' => open.push(b']'),
                        b',' | b':' => {}
                        close if open.pop() == Some(close) => {}
                        _ => return Err(NotJson),
                    }
                    self.at += 1;
                }
                _ => drop(self.word()),
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }
}

impl<'a> Text<'a> {
    /// Returns the text; `None` if it is malformed: an unknown escape, a lone surrogate, a control
    /// character, or not UTF-8.
    pub(super) fn read(self) -> Option<Cow<'a, str>> {
        let is_unescaped = |byte: &u8| *byte >= 0x20 && *byte != b'\\';
        if self.is_plain || self.raw.iter().all(is_unescaped) {
            return str::from_utf8(self.raw).ok().map(Cow::Borrowed);
        }
        let quoted = [b"\"", self.raw, b"\""].concat();
        serde_json::from_slice(&quoted).ok().map(Cow::Owned)
    }

    /// Returns the UTF-8 bytes of the text; `None` if it is malformed.
    #[inline]
    pub(super) fn read_bytes(self) -> Option<Cow<'a, [u8]>> {
        if self.is_plain {
            return Some(Cow::Borrowed(self.raw));
        }
        self.read().map(|text| match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }
}

/// Whether each byte ends a word.
#[allow(clippy::cast_possible_truncation)] // below 256
const ENDS_WORD: [bool; 256] = {
    let mut ends = [false; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        ends[at] = is_blank(byte) || matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':');
        at += 1;
    }
    ends
};

/// Returns whether `byte` is JSON white space. Other control bytes, such as a form feed, are part
/// of a malformed word.
#[inline]
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Returns how many bytes of `text` come before the first that is a quote, a backslash, a control
/// byte or not ASCII.
#[inline]
fn plain_length(text: &[u8]) -> usize {
    let mut before = 0;
    let (lanes, rest) = text.as_chunks();
    for lane in lanes {
        let odd = odd_bytes(*lane);
        if odd != 0 {
            return before + odd.trailing_zeros() as usize;
        }
        before += LANE;
    }
    before + rest.iter().take_while(|byte| !is_odd(**byte)).count()
}

/// Compares texts of the same length, which are too short for a call to `memcmp` to pay.
#[inline]
pub(super) fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let ((a_words, _), (b_words, _)) = (a.as_chunks(), b.as_chunks());
    let are_equal = |a: &[u8; 8], b: &[u8; 8]| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b);
    match (a.last_chunk(), b.last_chunk()) {
        // The last word may overlap the one before it.
        (Some(a_last), Some(b_last)) => {
            are_equal(a_last, b_last) && a_words.iter().zip(b_words).all(|(a, b)| are_equal(a, b))
        }
        _ => a.iter().eq(b),
    }
}

/// Returns whether a byte is a quote, a backslash, a control byte or not ASCII.
#[inline]
fn is_odd(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || !(0x20..0x80).contains(&byte)
}

/// Returns which bytes of the lane are odd, as [`is_odd`] says: the lowest bit stands for the first
/// byte.
#[inline]
fn odd_bytes(lane: [u8; LANE]) -> u32 {
    // As signed numbers, the bytes that are not ASCII are less than 0.
    let each = |byte: u8| i8x16::splat(byte as i8);
    let lane: i8x16 = bytemuck::cast(lane);
    let odd = lane.simd_eq(each(b'"')) | lane.simd_eq(each(b'\\')) | lane.simd_lt(each(0x20));
    odd.to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_ends_at_the_first_byte_that_needs_a_closer_look() {
        for length in 0..200 {
            for odd in
                (0..=u8::MAX).filter(|byte| !(0x20..0x7f).contains(byte) || b"\"\\".contains(byte))
            {
                let mut text = vec![b'~'; length];
                text.push(odd);
                text.extend_from_slice(b"!\" \\");
                let expected = if odd == 0x7f { length + 2 } else { length };

                assert_eq!(plain_length(&text), expected, "{odd:#x} at {length}");
            }
            assert_eq!(plain_length(&vec![b'x'; length]), length);
        }
    }
}
