//! The published form of the table: `docs/errors.md` for errors, `docs/retries.md` for retries.

use std::fmt::Write as _;

use tonic::Code;

use super::{
    rules::{AFFIXES, About, Affix, TYPES},
    table::{Case, Detail, Pushback, Reason, Row},
};
use crate::{proto::code_name, stytch::Upstream};

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
            of_get(case, row),
            without_key(case, row),
            with_key(case, row),
        );
    }
    page
}

/// The cell for a status that such a call cannot get.
const NEVER: &str = "";

fn of_get(case: Case, row: &Row) -> &'static str {
    match case {
        Case::OutcomeUnknown
        | Case::KeyReused
        | Case::NoIdempotencyStore
        | Case::AuditTrailBlocked => NEVER,
        _ if row.upstream == Upstream::Unknown => "yes: the call only reads",
        _ => retry(row),
    }
}

fn without_key(case: Case, row: &Row) -> &'static str {
    match case {
        Case::ReadFailed | Case::KeyReused | Case::NoIdempotencyStore => NEVER,
        _ => retry(row),
    }
}

fn with_key(case: Case, row: &Row) -> &'static str {
    match case {
        Case::ReadFailed => NEVER,
        Case::DeadlineUnknown => "yes: the retry waits for the outcome",
        _ if !row.is_remembered() => retry(row),
        _ if row.upstream == Upstream::Unknown => "harmless: it gets the same status",
        _ => "no: it gets the same status",
    }
}

fn reason(row: &Row) -> String {
    match row.reason {
        Reason::Ours(reason) => format!("`{reason}`"),
        Reason::ErrorType => "the `error_type` in upper case".to_owned(),
    }
}

fn retry(row: &Row) -> &'static str {
    match (row.upstream, row.pushback) {
        (Upstream::NotSent | Upstream::Rejected, Pushback::After(_)) => {
            "yes, after the delay in `RetryInfo`"
        }
        (Upstream::Unknown, Pushback::After(_)) => "yes: the call only reads",
        (_, Pushback::RetryAfter) => "yes, after the delay in `RetryInfo` if present",
        (Upstream::Unknown, _) => "no: it may have taken effect",
        (_, Pushback::Never) if row.detail == Detail::QuotaFailure => "no: not until the lock ends",
        (_, Pushback::Never) => "no: the operator must fix the settings",
        (Upstream::NotSent | Upstream::Rejected, Pushback::Unset) => match row.code {
            Code::DeadlineExceeded | Code::Aborted => "yes; nothing was done",
            _ => "no: change the request first; nothing was done",
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
