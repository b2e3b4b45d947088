//! Translates JSON text into encoded protobuf messages, in one pass and without building either.
//!
//! This is the way of every response of Stytch to its caller. By the time a response is read,
//! Stytch has done the work, and the secret in the response cannot be fetched again. So a field
//! that does not fit the message is left unset and reported, and the rest is translated. The
//! message is one that every gRPC client can read: neither too long nor too deeply nested.
//!
//! `scan.rs` finds the parts of the text, `message.rs` and `free_form.rs` decide what fits, driven
//! by the tables that `build.rs` makes from the contract (`table.rs`), and `wire.rs` writes it.
//!
//! Rules that are not obvious:
//! - A null counts as an absent field, except in a free-form object, where it is a value.
//! - Of a duplicate field, the last one that fits counts.
//! - A byte order mark before the object is skipped, and text after the object is left out.
//! - An unknown field is left out, whatever it holds, as long as its brackets match.
//! - A message that would be longer than clients read is translated again, without its free-form
//!   objects. Every member of such an object counts, also one that a later duplicate replaces.

mod encoded;
mod free_form;
mod message;
mod report;
mod scan;
mod table;
mod wire;

pub use encoded::Encoded;
pub use report::Misfit;
pub use scan::NotJson;
pub use table::{Field, FromJson, Kind, Label, Table};

use message::{FreeForm, Translator};
use report::Reports;

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod generated {
    use super::{Field, FromJson, Kind, Label, Table};

    include!(concat!(env!("OUT_DIR"), "/tables.rs"));
}

/// The longest message that gRPC clients accept by default, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// Translates the JSON object `json` into a message. Calls `left_out` with the path of each field
/// that does not fit, never with its value. Unknown fields are not reported.
///
/// # Errors
///
/// If `json` is not a JSON object, or ends within it.
pub fn translate<T: FromJson>(
    json: &[u8],
    mut left_out: impl FnMut(&str),
) -> Result<Encoded<T>, NotJson> {
    let left_out = &mut |_, path: &str, _| left_out(path);
    let mut attempt = |free_form| {
        let reports = Reports::new(left_out).without_unknown();
        Translator::new(json, free_form, reports).translate(T::TABLE)
    };
    let frame = attempt(FreeForm::Kept)?;
    if frame.len() - wire::PREFIX <= MAX_MESSAGE {
        return Ok(Encoded::from_frame(frame));
    }
    drop(frame);
    attempt(FreeForm::LeftOut).map(Encoded::from_frame)
}

/// Translates a JSON object that must fit the message exactly.
///
/// # Errors
///
/// If `json` is not a JSON object, or one of its fields does not fit or is unknown.
pub fn translate_exactly<T: FromJson>(json: &[u8]) -> Result<Encoded<T>, Inexact> {
    let mut first = None;
    let left_out = &mut |misfit, path: &str, end| {
        first.get_or_insert_with(|| Inexact::Field { misfit, path: path.to_owned(), end });
    };
    let translator = Translator::new(json, FreeForm::Kept, Reports::new(left_out));
    let frame = translator.translate(T::TABLE).map_err(|NotJson| Inexact::NotJson)?;
    match first {
        None => Ok(Encoded::from_frame(frame)),
        Some(inexact) => Err(inexact),
    }
}

/// Why a JSON object does not fit a message exactly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inexact {
    /// The text is not a JSON object.
    #[error("it is not a JSON object")]
    NotJson,
    /// A field would be left out.
    #[error("{}", match misfit {
        Misfit::Unknown => format!("there is no field {path}"),
        Misfit::Malformed => format!("the value of {path} does not fit"),
    })]
    Field {
        /// What is wrong with it.
        misfit: Misfit,
        /// Its path.
        path: String,
        /// The position in the text after its value.
        end: usize,
    },
}

#[cfg(test)]
mod tests;
