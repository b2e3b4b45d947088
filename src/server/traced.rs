//! What the server records in the span of a call: who called, and what the caller was answered.

use http::HeaderMap;
use tonic::Code;

use super::{answer::Answer, method::Method};
use crate::{
    access::Caller,
    connection::{Peer, PeerAddr},
    proto::{code_name, is_server_error},
    telemetry::{
        metrics::TraceIds,
        trace::{
            Trace, Tracer,
            attributes::{
                CALLER, CALLER_GONE, DEADLINE_PASSED, PEER_ADDRESS, PEER_PORT, REASON, RPC_METHOD,
                RPC_STATUS_CODE, RPC_SYSTEM_NAME, UPSTREAM,
            },
        },
    },
};

/// The trace of a call until its caller is answered, or goes away. Its span may last longer.
pub(super) struct Traced {
    trace: Trace,
    is_answered: bool,
}

impl Traced {
    /// Begins the trace of a call. Probes and reflection are not recorded.
    pub(super) fn begin(tracer: &Tracer, method: Method, headers: &HeaderMap, peer: &Peer) -> Self {
        let trace = match method {
            Method::Contract(_) | Method::Unknown { .. } => tracer.call(method.name(), headers),
            Method::HealthCheck | Method::HealthWatch | Method::Reflection(_) => {
                Tracer::unrecorded(headers)
            }
        };
        trace.record(|span| {
            span.set(RPC_SYSTEM_NAME, "grpc");
            span.set(RPC_METHOD, method.name());
            if let Some(PeerAddr::Ip(addr)) = peer.addr {
                span.set(PEER_ADDRESS, addr.ip().to_string());
                span.set(PEER_PORT, i64::from(addr.port()));
            }
        });
        Self { trace, is_answered: false }
    }

    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Returns the ids of the call's span, if this service records it.
    pub(super) fn recorded(&self) -> Option<TraceIds> {
        let ids = self.trace.recorded_ids()?;
        Some((ids.trace_id().to_bytes(), ids.span_id().to_bytes()))
    }

    /// Records who calls.
    pub(super) fn identify(&self, caller: &Caller) {
        self.trace.record(|span| span.set(CALLER, caller.name().to_owned()));
    }

    /// Records that the caller's deadline passed before the call ended.
    pub(super) fn deadline_passed(&self) {
        self.trace.record(|span| span.event(DEADLINE_PASSED, Vec::new()));
    }

    /// Records what the caller is answered.
    pub(super) fn answer(&mut self, answer: &Answer<'_>) {
        self.is_answered = true;
        self.trace.record(|span| {
            let code = code_name(answer.code);
            span.set(RPC_STATUS_CODE, code);
            span.set(UPSTREAM, answer.outcome.as_str());
            if let Some(reason) = answer.reason() {
                span.set(REASON, reason);
            }
            if is_server_error(answer.code) {
                span.fail(code);
            }
        });
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if !self.is_answered {
            self.trace.record(|span| {
                span.set(RPC_STATUS_CODE, code_name(Code::Cancelled));
                span.event(CALLER_GONE, Vec::new());
            });
        }
    }
}
