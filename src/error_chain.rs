//! Errors as text, with the causes that led to them.

use std::error::Error;

/// Returns the text of `error`, followed by each of its causes. A cause that the text already ends
/// with is not repeated.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |error| (*error).source());
    causes.map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}
