//! What a failed call becomes for the caller.
//!
//! `table.rs` is the table: one row for each way in which a call can fail, published in
//! `docs/errors.md`. `rules.rs` finds the row of an error of Stytch. A [`Failure`] keeps its row until
//! the response is written.

mod bounds;
mod code;
mod encode;
mod failure;
mod page;
mod repetition;
mod rules;
mod table;

pub use bounds::{MAX_TRAILERS, MAX_VIOLATIONS};
pub use code::{code_name, is_failure};
pub use encode::request_id;
pub use failure::{Facts, Failure};
pub use page::{page, retries_page};
pub use repetition::Repetition;
pub use table::{Case, Detail, Pushback, Reason, Row};
pub use tonic_types::FieldViolation as Violation;
