//! Logs which calls are refused here, whose they are and why, at a bounded rate for each reason and
//! caller.

use tonic::Code;

use crate::{
    connection::PeerAddr,
    status::{Case, Failure, Reason, code_name},
    stytch::Upstream,
    telemetry::limit::{ByCaller, Limit},
};

/// The reason of a request that is not gRPC.
pub(super) const NOT_GRPC: &str = "NOT_GRPC";

/// Logs a call that was refused before anything was sent to Stytch. Other failures are logged where
/// their cause is known.
pub(super) fn log(failure: &Failure, peer: Option<PeerAddr>) {
    static LIMITS: [ByCaller; Case::ALL.len()] = [const { ByCaller::new() }; Case::ALL.len()];

    let Some(case) = failure.case() else { return };
    let (true, Reason::Ours(reason)) = (is_refusal(case), case.row().reason) else { return };
    let Some(suppressed) = LIMITS[case as usize].pass() else { return };
    let code = code_name(failure.code());
    let (peer, why) = (peer.map(tracing::field::display), failure.to_string());
    match failure.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unavailable => {
            tracing::warn!(reason, code, peer, suppressed, why, "call refused");
        }
        _ => tracing::info!(reason, code, peer, suppressed, why, "call refused"),
    }
}

/// Whether such a call is refused by this service itself.
fn is_refusal(case: Case) -> bool {
    match case {
        Case::Unreachable | Case::CircuitOpen | Case::NoIdempotencyStore => false,
        _ => case.row().upstream == Upstream::NotSent,
    }
}

/// Logs a request that is not gRPC.
pub(super) fn log_foreign(http_status: u16, peer: Option<PeerAddr>) {
    static LIMIT: Limit = Limit::new();

    if let Some(suppressed) = LIMIT.pass() {
        let peer = peer.map(tracing::field::display);
        tracing::info!(reason = NOT_GRPC, http_status, peer, suppressed, "request refused");
    }
}
