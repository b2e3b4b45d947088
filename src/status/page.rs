//! The table as it is published: for those who read errors, and for those who repeat calls.

use std::fmt::Write as _;

use tonic::Code;

use super::{
    code::code_name,
    rules::{AFFIXES, About, Affix, TYPES},
    table::{Case, Detail, Pushback, Reason, Row},
};
use crate::stytch::Upstream;

/// The tables of `docs/errors.md`, in Markdown. A test compares.
pub fn page() -> String {
    let mut page = String::from(
        "| when | code | reason | `upstream` | may it be sent again? | further details |\n\
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
            again(row),
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

/// The table of `docs/retries.md`: may a client repeat the call? A test compares.
pub fn retries_page() -> String {
    let mut page = String::from(
        "| status | reason | when | `Get` | the others, without a key | the others, with the same key |\n\
         |---|---|---|---|---|---|\n\
         | any | none: no `ErrorInfo` | The client library or a proxy made it, as when a connection breaks \
         | yes: it only reads | no: it may have taken effect | yes |\n",
    );
    for case in Case::ALL.iter().copied() {
        let row = case.row();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            code_name(row.code),
            reason(row),
            row.cause,
            of_get(case, row),
            without_key(case, row),
            with_key(case, row),
        );
    }
    page
}

/// Stands where a status cannot come.
const NEVER: &str = "";

fn of_get(case: Case, row: &Row) -> &'static str {
    match case {
        Case::OutcomeUnknown | Case::KeyReused | Case::NoIdempotencyStore => NEVER,
        _ if row.upstream == Upstream::Unknown => "yes: it only reads",
        _ => again(row),
    }
}

fn without_key(case: Case, row: &Row) -> &'static str {
    match case {
        Case::ReadFailed | Case::KeyReused | Case::NoIdempotencyStore => NEVER,
        _ => again(row),
    }
}

fn with_key(case: Case, row: &Row) -> &'static str {
    match case {
        Case::ReadFailed => NEVER,
        Case::DeadlineUnknown => "yes: it waits for the outcome, and is told that",
        _ if !row.is_remembered() => again(row),
        _ if row.upstream == Upstream::Unknown => "harmless: it is told the same",
        _ => "no: it is told the same",
    }
}

fn reason(row: &Row) -> String {
    match row.reason {
        Reason::Ours(reason) => format!("`{reason}`"),
        Reason::ErrorType => "the `error_type` in upper case".to_owned(),
    }
}

fn again(row: &Row) -> &'static str {
    match (row.upstream, row.pushback) {
        (Upstream::NotSent | Upstream::Rejected, Pushback::After(_)) => {
            "yes, after the delay in `RetryInfo`"
        }
        (Upstream::Unknown, Pushback::After(_)) => "yes, for it only reads",
        (_, Pushback::RetryAfter) => "yes, after the delay in `RetryInfo` when there is one",
        (Upstream::Unknown, _) => "no: it may have taken effect",
        (Upstream::NotSent | Upstream::Rejected, Pushback::Never) => "no: not until it is fixed",
        (Upstream::NotSent | Upstream::Rejected, Pushback::Unset) => match row.code {
            Code::DeadlineExceeded | Code::Aborted => "yes; nothing was done",
            _ => "no, not as it is; nothing was done",
        },
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
