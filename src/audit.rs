//! The audit trail: one event for each call that changes something and was sent, at its real end, even if
//! its caller had gone by then; and one for each time an idempotency key gave its answer out again.
//!
//! Its target is `audit`, so that it can be routed by itself. It says who did what to whom and how it
//! ended, and never what the answer was. The form is in `docs/audit.md`.

use tokio::time::Instant;
use tonic::Code;

use crate::{
    call::Call,
    proto::{StytchRequest, StytchResponse},
    status::{self, Failure},
    stytch::Upstream,
    telemetry,
};

/// The part that the call's idempotency key had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// It had none.
    None,
    /// The call was made, and is remembered by its key.
    Fresh,
    /// It was told what an earlier call with its key was told.
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

/// An event in the making. One that is dropped after the call was sent says that its outcome is unknown.
pub(crate) struct Entry<'a> {
    call: &'a Call,
    organization_id: &'a str,
    member_id: &'a str,
    idempotency: Idempotency,
    ended: bool,
}

/// How a call ended, as far as the trail tells.
struct End<'a> {
    outcome: &'static str,
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
        Self { call, organization_id, member_id, idempotency, ended: false }
    }

    /// Writes how the call ended, unless nothing was sent.
    pub(crate) fn end(mut self, result: &Result<impl StytchResponse, Failure>) {
        self.ended = true;
        match result {
            Ok(answer) => self.write(&End {
                outcome: "done",
                code: Code::Ok,
                error_type: None,
                stytch_request_id: Some(answer.request_id()),
                totp_registration_id: answer.totp_registration_id(),
            }),
            Err(failure) => {
                let facts = failure.facts();
                match facts.upstream {
                    Some(Upstream::NotSent) => {}
                    upstream => self.write(&End {
                        outcome: upstream.unwrap_or(Upstream::Unknown).as_str(),
                        code: failure.code(),
                        error_type: facts.error_type.as_deref(),
                        stytch_request_id: facts.request_id.as_deref(),
                        totp_registration_id: None,
                    }),
                }
            }
        }
    }

    fn write(&self, end: &End<'_>) {
        let duration = Instant::now().duration_since(self.call.start);
        tracing::info!(
            target: telemetry::AUDIT,
            caller = self.call.caller().name(),
            method = self.call.method(),
            organization_id = self.organization_id,
            member_id = self.member_id,
            outcome = end.outcome,
            code = status::code_name(end.code),
            error_type = end.error_type,
            stytch_request_id = end.stytch_request_id.filter(|id| !id.is_empty()),
            totp_registration_id = end.totp_registration_id.filter(|id| !id.is_empty()),
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            idempotency = self.idempotency.as_str(),
            "call ended"
        );
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.ended && self.call.gate.close() {
            self.write(&End {
                outcome: Upstream::Unknown.as_str(),
                code: Code::Unknown,
                error_type: None,
                stytch_request_id: None,
                totp_registration_id: None,
            });
        }
    }
}
