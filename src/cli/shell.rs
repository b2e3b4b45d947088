//! Words of commands to paste.

use std::borrow::Cow;

/// Returns a text as one word for a POSIX shell, quoted if need be.
pub(super) fn word(text: &str) -> Cow<'_, str> {
    // Only a text with NUL cannot be quoted, which is no argument either.
    shlex::try_quote(text).unwrap_or(Cow::Borrowed(text))
}
