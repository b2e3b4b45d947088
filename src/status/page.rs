//! The table as it is published.

use std::fmt::Write as _;

use tonic::Code;

use super::{AFFIXES, Affix, Case, Detail, Pushback, Row, TYPES, code_name};
use crate::stytch::Upstream;

/// The tables of `docs/errors.md`, in Markdown. A test compares.
pub fn page() -> String {
    let mut page = String::from(
        "| when | code | reason | `upstream` | may it be sent again? | further details |\n\
         |---|---|---|---|---|---|\n",
    );
    for case in Case::ALL {
        let row = case.row();
        let _ = writeln!(
            page,
            "| {} | `{}` | {} | `{}` | {} | {} |",
            row.cause,
            code_name(row.code),
            row.reason.map_or("the `error_type` in upper case".into(), |ours| format!("`{ours}`")),
            row.upstream.as_str(),
            again(&row),
            detail(&row),
        );
    }
    page.push_str("\n| `error_type` | code | about |\n|---|---|---|\n");
    for (name, case, subject) in TYPES {
        let subject = if subject.is_empty() { String::new() } else { format!("`{subject}`") };
        let _ = writeln!(page, "| `{name}` | `{}` | {subject} |", code_name(case.row().code));
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

fn again(row: &Row) -> &'static str {
    match (row.upstream, row.pushback) {
        (Upstream::NotSent | Upstream::Rejected, Pushback::After(_)) => {
            "yes, after the delay in `RetryInfo`"
        }
        (Upstream::Unknown, Pushback::After(_)) => "yes, for it only reads",
        (_, Pushback::RetryAfter) => "yes, after the delay in `RetryInfo` when there is one",
        (Upstream::Unknown, _) => "not blindly: it may have taken effect",
        (Upstream::NotSent | Upstream::Rejected, Pushback::Never) => "no use until it is mended",
        (Upstream::NotSent | Upstream::Rejected, Pushback::None) => match row.code {
            Code::DeadlineExceeded | Code::Aborted => "yes; nothing was done",
            _ => "not as it is; nothing was done",
        },
    }
}

fn detail(row: &Row) -> String {
    let mut details = Vec::new();
    match row.detail {
        Detail::None => {}
        Detail::BadRequest => details.push("`BadRequest`"),
        Detail::ResourceInfo => details.push("`ResourceInfo`"),
        Detail::PreconditionFailure => details.push("`PreconditionFailure`"),
        Detail::QuotaFailure => details.push("`QuotaFailure`"),
    }
    match row.pushback {
        Pushback::None => {}
        Pushback::Never => details.push("pushback -1"),
        Pushback::After(_) | Pushback::RetryAfter => details.push("`RetryInfo`, pushback"),
    }
    details.join(", ")
}
