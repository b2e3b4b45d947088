//! The audit trail: one event for each mutating call that was sent to Stytch, written when it
//! really ends, even if its caller has gone by then; and one for each replay of a recorded
//! response.
//!
//! Events have the log target `audit`, by which they can be routed. They say who did what to whom
//! and with what outcome, and never contain the response. `docs/audit.md` has their schema.

use tokio::time::Instant;
use tonic::Code;

use crate::{
    call::Call,
    proto::StytchRequest,
    status::{self, Failure},
    stytch::Upstream,
    telemetry::{self, metrics::AuditOutcome},
    translate::{Encoded, FromJson},
};

/// Whether standard error takes no event, and so many wait for it that no call should be made that
/// will owe another.
pub(crate) fn is_backed_up() -> bool {
    telemetry::is_backed_up()
}

/// The role of the idempotency key in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// The call had no key.
    None,
    /// The call was made and recorded under its key.
    Fresh,
    /// The response was recorded by an earlier call with the key.
    Replayed,
}

impl Idempotency {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fresh => "fresh",
            Self::Replayed => "replayed",
        }
    }
}

/// The audit event of a call in progress. If it is dropped after the call was sent, it is written
/// with an unknown outcome.
pub(crate) struct Entry<'a> {
    call: &'a Call,
    organization_id: &'a str,
    member_id: &'a str,
    idempotency: Idempotency,
    is_finished: bool,
}

/// How a call ended, as far as the audit trail shows it.
struct Summary<'a> {
    outcome: AuditOutcome,
    code: Code,
    error_type: Option<&'a str>,
    stytch_request_id: Option<&'a str>,
    totp_registration_id: Option<&'a str>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(
        call: &'a Call,
        request: &'a impl StytchRequest,
        idempotency: Idempotency,
    ) -> Self {
        let (organization_id, member_id) = (request.organization_id(), request.member_id());
        Self { call, organization_id, member_id, idempotency, is_finished: false }
    }

    /// Writes the event with the outcome of the call, unless nothing was sent.
    pub(crate) fn finish(mut self, result: &Result<Encoded<impl FromJson>, Failure>) {
        self.is_finished = true;
        match result {
            Ok(response) => self.write(&Summary {
                outcome: AuditOutcome::Done,
                code: Code::Ok,
                error_type: None,
                stytch_request_id: response.request_id(),
                totp_registration_id: response.text("totp_registration_id"),
            }),
            Err(failure) => {
                let facts = failure.facts();
                let outcome = match facts.upstream {
                    Some(Upstream::NotSent) => return,
                    Some(Upstream::Rejected) => AuditOutcome::Rejected,
                    Some(Upstream::Unknown) | None => AuditOutcome::Unknown,
                };
                self.write(&Summary {
                    outcome,
                    code: failure.code(),
                    error_type: facts.error_type.as_deref(),
                    stytch_request_id: facts.request_id.as_deref(),
                    totp_registration_id: None,
                });
            }
        }
    }

    fn write(&self, summary: &Summary<'_>) {
        if self.idempotency != Idempotency::Replayed {
            self.call.metrics().audit_outcomes.get(summary.outcome).inc();
        }
        let duration = Instant::now().duration_since(self.call.start);
        tracing::info!(
            target: telemetry::AUDIT,
            // As a field, it is a string, which costs less than the arguments of a format.
            message = "call ended",
            caller = self.call.caller().name(),
            method = self.call.method(),
            organization_id = self.organization_id,
            member_id = self.member_id,
            outcome = summary.outcome.as_str(),
            code = status::code_name(summary.code),
            error_type = summary.error_type,
            stytch_request_id = summary.stytch_request_id.filter(|id| !id.is_empty()),
            totp_registration_id = summary.totp_registration_id.filter(|id| !id.is_empty()),
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            idempotency = self.idempotency.as_str(),
        );
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.is_finished && self.call.gate.close() {
            self.write(&Summary {
                outcome: AuditOutcome::Unknown,
                code: Code::Unknown,
                error_type: None,
                stytch_request_id: None,
                totp_registration_id: None,
            });
        }
    }
}
