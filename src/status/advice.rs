//! Whether a caller may retry a call that failed: the columns of `docs/retries.md`, and the row
//! that a received status comes from.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{
    encode::STYTCH_DOMAIN,
    table::{Case, Detail, Pushback, Reason, Row},
};
use crate::{proto::metadata::RETRY_PUSHBACK, stytch::Upstream};

/// The cell for a status that such a call cannot get.
const NEVER: &str = "";

/// What kind of call failed, as far as retrying it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// A call that changes nothing.
    Read,
    /// A call that may change something, without an idempotency key.
    WithoutKey,
    /// A call that may change something, with an idempotency key.
    WithKey,
}

impl CallKind {
    /// Says whether to retry the call with the same request, and with the same key if it had one:
    /// text that begins with "yes", "no" or "harmless". Empty for a case that such a call never
    /// has.
    pub fn advice(self, case: Case) -> &'static str {
        match self {
            Self::Read => of_read(case, case.row()),
            Self::WithoutKey => without_key(case, case.row()),
            Self::WithKey => with_key(case, case.row()),
        }
    }

    /// The same for a status that a façade sent. `None` if no row of the table fits it: another
    /// server made it.
    pub fn advice_on(self, status: &Status) -> Option<&'static str> {
        let cases = Case::ALL.iter().copied().filter(|case| case.row().may_be(status));
        cases.map(|case| self.advice(case)).find(|advice| *advice != NEVER)
    }
}

impl Row {
    /// Whether a status may come from this row.
    fn may_be(&self, status: &Status) -> bool {
        let Some(info) = status.get_details_error_info() else { return false };
        let is_reason = match self.reason {
            Reason::Ours(reason) => info.domain != STYTCH_DOMAIN && info.reason == reason,
            Reason::ErrorType => info.domain == STYTCH_DOMAIN,
        };
        let forbids = status.metadata().get(RETRY_PUSHBACK).is_some_and(|it| it == "-1");
        status.code() == self.code
            && is_reason
            && info.metadata.get("upstream").is_some_and(|it| it == self.upstream.as_str())
            && forbids == (self.pushback == Pushback::Never)
    }
}

fn of_read(case: Case, row: &Row) -> &'static str {
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

/// Says whether to retry a call without regard to keys.
pub(super) fn retry(row: &Row) -> &'static str {
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
            Code::Unauthenticated => "no: call with valid credentials; nothing was done",
            Code::PermissionDenied if row.upstream == Upstream::NotSent => {
                "no: the policy must allow it first; nothing was done"
            }
            _ => "no: change the request first; nothing was done",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Failure;

    #[test]
    fn a_status_gets_the_advice_of_the_row_that_it_comes_from() {
        for case in Case::ALL.iter().copied() {
            let is_stytchs = case.row().reason == Reason::ErrorType;
            let reason = is_stytchs.then(|| "OF_STYTCH".to_owned());
            let status = Status::from(Failure::from(case).with(|parts| parts.reason = reason));
            for kind in [CallKind::Read, CallKind::WithoutKey, CallKind::WithKey] {
                let advice = kind.advice(case);

                let expected = Some(advice).filter(|advice| *advice != NEVER);
                if expected.is_some() {
                    assert_eq!(kind.advice_on(&status), expected, "{case:?}, {kind:?}");
                }
            }
        }
    }

    #[test]
    fn a_status_of_another_server_gets_none() {
        assert_eq!(CallKind::Read.advice_on(&Status::unavailable("connection refused")), None);
    }
}
