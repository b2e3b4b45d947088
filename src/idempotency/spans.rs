//! The spans of what a store is asked to do.

use opentelemetry::trace::SpanKind;

use super::{
    record::Found,
    store::{Claim, StoreError},
};
use crate::telemetry::{
    metrics::{StoreKind, StoreOperation},
    trace::{
        Span, Trace,
        attributes::{DB_SYSTEM_NAME, STORE, STORE_OPERATION, STORE_RESULT},
    },
};

/// Why a store could not be asked, in a span.
const UNAVAILABLE: &str = "unavailable";

/// Begins the span of an operation, as a part of a call.
pub(super) fn begin(trace: &Trace, store: StoreKind, operation: StoreOperation) -> Span {
    let kind = match store {
        StoreKind::Memory => SpanKind::Internal,
        StoreKind::Redis => SpanKind::Client,
    };
    let mut span = trace.child(kind, || format!("idempotency {}", operation.as_str()));
    if let Some(span) = span.recorded() {
        span.set(STORE, store.as_str());
        span.set(STORE_OPERATION, operation.as_str());
        if store == StoreKind::Redis {
            span.set(DB_SYSTEM_NAME, store.as_str());
        }
    }
    span
}

/// Ends the span of a claim with what it led to.
pub(super) fn claimed(mut span: Span, claim: &Result<Claim, StoreError>) {
    match claim {
        Ok(Claim::Granted(_)) => span.set(STORE_RESULT, "granted"),
        Ok(Claim::Found(Found::Ended(_))) => span.set(STORE_RESULT, "ended"),
        Ok(Claim::Found(Found::Pending)) => span.set(STORE_RESULT, "pending"),
        Ok(Claim::Found(Found::Reused)) => span.set(STORE_RESULT, "reused"),
        Ok(Claim::Found(Found::Unreadable)) => span.set(STORE_RESULT, "unreadable"),
        Err(_) => span.fail(UNAVAILABLE),
    }
}
