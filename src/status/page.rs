//! The published form of the table: `docs/errors.md` for errors, `docs/retries.md` for retries.

use std::fmt::Write as _;

use super::{
    advice::{CallKind, retry},
    rules::{AFFIXES, About, Affix, TYPES},
    table::{Case, Detail, Pushback, Reason, Row},
};
use crate::proto::code_name;

/// Returns the tables of `docs/errors.md`, in Markdown. A test compares them with the document.
pub fn page() -> String {
    let mut page = String::from(
        "| cause | code | reason | `upstream` | retry? | further details |\n\
         |---|---|---|---|---|---|\n",
    );
    for case in Case::ALL.iter().copied() {
        let row = case.row();
        let _ = writeln!(
            page,
            "| {} | `{}` | {} | `{}` | {} | {} |",
            row.cause,
            code_name(row.code),
            reason(row),
            row.upstream.as_str(),
            retry(row),
            detail(row),
        );
    }
    page.push_str("\n| `error_type` | code | about |\n|---|---|---|\n");
    for (name, case, about) in TYPES {
        let about = match about {
            About::Nothing => String::new(),
            About::Name(name) => format!("`{name}`"),
            About::Proofs => "the token or JWT of the request".to_owned(),
        };
        let _ = writeln!(page, "| `{name}` | `{}` | {about} |", code_name(case.row().code));
    }
    for (affix, case) in AFFIXES {
        let (name, subject) = match affix {
            Affix::Prefix(prefix) => (format!("{prefix}*"), "the rest of the name"),
            Affix::Suffix(suffix) => (format!("*{suffix}"), "the rest of the name"),
        };
        let _ = writeln!(page, "| `{name}` | `{}` | {subject} |", code_name(case.row().code));
    }
    page
}

/// Returns the table of `docs/retries.md`, in Markdown: whether a client may retry. A test compares
/// it with the document.
pub fn retries_page() -> String {
    let mut page = String::from(
        "| status | reason | cause | `Get` | other calls without a key | other calls with the same key |\n\
         |---|---|---|---|---|---|\n\
         | any | none: no `ErrorInfo` | The client library or a proxy made the status, for example after a broken connection \
         | yes: the call only reads | no: it may have taken effect | yes |\n",
    );
    for case in Case::ALL.iter().copied() {
        let row = case.row();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            code_name(row.code),
            reason(row),
            row.cause,
            CallKind::Read.advice(case),
            CallKind::WithoutKey.advice(case),
            CallKind::WithKey.advice(case),
        );
    }
    page
}

fn reason(row: &Row) -> String {
    match row.reason {
        Reason::Ours(reason) => format!("`{reason}`"),
        Reason::ErrorType => "the `error_type` in upper case".to_owned(),
    }
}

fn detail(row: &Row) -> String {
    let mut details = Vec::new();
    match row.detail {
        Detail::Nothing => {}
        Detail::BadRequest if row.reason != Reason::ErrorType => details.push("`BadRequest`"),
        Detail::BadRequest => details.push("`BadRequest` where the type names a field"),
        Detail::ResourceInfo => details.push("`ResourceInfo` where the type names a kind"),
        Detail::PreconditionFailure => details.push("`PreconditionFailure`"),
        Detail::QuotaFailure => details.push("`QuotaFailure`"),
    }
    match row.pushback {
        Pushback::Unset => {}
        Pushback::Never => details.push("pushback -1"),
        Pushback::After(_) | Pushback::RetryAfter => details.push("`RetryInfo`, pushback"),
    }
    details.join(", ")
}
