//! Reports of what is left out, each by its path.

use std::fmt::Write as _;

use super::scan::{Scanner, Text};

/// The number of fields to report one by one. Of any more, only the count is reported.
pub(super) const MAX_REPORTS: usize = 64;
/// The longest path to report, in bytes. The names in it may be of any length.
const MAX_PATH: usize = 256;

/// Why a field is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Its value does not fit, is nested too deeply, or is replaced by that of a later field of the
    /// same name.
    Malformed,
    /// The message has no such field.
    Unknown,
}

/// The path to the value that is being translated, and the reports.
pub(super) struct Reports<'r> {
    /// The open objects and arrays, from the outermost on.
    open: Vec<Step>,
    /// The value in the innermost of them.
    current: Step,
    /// The number of fields left out so far.
    count: usize,
    with_unknown: bool,
    left_out: &'r mut dyn FnMut(Misfit, &str, usize),
}

/// One step of a path.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// The outermost object.
    Start,
    /// A member, by the position of its name in the text.
    Member(usize),
    Index(usize),
    /// The text after the outermost object.
    End,
}

impl<'r> Reports<'r> {
    /// Creates reports that go to `left_out`: what is wrong, the path, and the position in the text
    /// after the value.
    pub(super) fn new(left_out: &'r mut dyn FnMut(Misfit, &str, usize)) -> Self {
        let open = Vec::with_capacity(8);
        Self { open, current: Step::Start, count: 0, with_unknown: true, left_out }
    }

    /// Leaves unknown fields out of the reports.
    pub(super) fn without_unknown(self) -> Self {
        Self { with_unknown: false, ..self }
    }

    /// Opens the current value, an object or an array.
    #[inline]
    pub(super) fn open(&mut self) {
        self.open.push(self.current);
    }

    /// Goes to the next value of the open object or array.
    #[inline]
    pub(super) fn go_to(&mut self, step: Step) {
        self.current = step;
    }

    /// Closes the object or array that was opened last. It is the current value again.
    #[inline]
    pub(super) fn close(&mut self) {
        self.current = self.open.pop().unwrap_or(Step::Start);
    }

    /// Reports the current path.
    pub(super) fn malformed(&mut self, json: &Scanner<'_>) {
        self.add(Misfit::Malformed, json);
    }

    /// Reports the current path if unknown fields are reported.
    pub(super) fn unknown(&mut self, json: &Scanner<'_>) {
        if self.with_unknown {
            self.add(Misfit::Unknown, json);
        }
    }

    fn add(&mut self, misfit: Misfit, json: &Scanner<'_>) {
        if self.count < MAX_REPORTS {
            let path = self.path(json);
            (self.left_out)(misfit, &path, json.position());
        }
        self.count += 1;
    }

    /// Reports how many fields were left out beyond those reported one by one.
    pub(super) fn finish(self, json: &Scanner<'_>) {
        if self.count > MAX_REPORTS {
            let more = format!("({} more)", self.count - MAX_REPORTS);
            (self.left_out)(Misfit::Malformed, &more, json.position());
        }
    }

    /// Returns the current path, truncated if it is too long.
    fn path(&self, json: &Scanner<'_>) -> String {
        let mut path = String::new();
        for step in self.open.iter().chain([&self.current]) {
            if !path.is_empty() && matches!(step, Step::Member(_)) {
                path.push('.');
            }
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Start => Ok(()),
                Step::Index(index) => write!(path, "[{index}]"),
                Step::Member(name) => match json.text_at(*name).and_then(Text::read) {
                    // A control character could forge a line of a log.
                    Some(name) => name.chars().take(MAX_PATH).try_for_each(|char| match char {
                        char if char.is_control() => write!(path, "{}", char.escape_default()),
                        char => path.write_char(char),
                    }),
                    None => path.write_str("(unreadable)"),
                },
                Step::End => write!(path, "(what follows the object)"),
            };
            if path.len() > MAX_PATH {
                path.truncate(path.floor_char_boundary(MAX_PATH));
                path.push('…');
                break;
            }
        }
        path
    }
}
