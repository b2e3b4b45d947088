//! The gRPC statuses of failed calls.
//!
//! `table.rs` has one row for each way in which a call can fail, and `docs/errors.md` publishes it.
//! `rules.rs` finds the row for an error of Stytch, and `advice.rs` says whether to retry a call.
//! A [`Failure`] keeps its row until `encode.rs` writes the response.

mod advice;
mod bounds;
mod code;
mod encode;
mod failure;
mod page;
mod retried;
mod rules;
mod table;

pub use crate::proto::code_name;
pub use advice::CallKind;
pub use bounds::{MAX_TRAILERS, MAX_VIOLATIONS};
pub use code::is_failure;
pub use encode::request_id;
pub use failure::{Facts, Failure};
pub use page::{page, retries_page};
pub use retried::Retried;
pub use rules::error_types;
pub use table::{Case, Detail, Pushback, Reason, Row};
pub use tonic_types::FieldViolation as Violation;
