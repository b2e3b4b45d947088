//! What the process counts, for Prometheus. A counter is one atomic; nothing here locks.

use std::sync::Arc;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// The content type of [`Metrics::page`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The counters. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counters>);

/// Each counter by itself.
#[derive(Debug, Default)]
pub struct Counters {
    /// Attempts at Stytch after the first of their call.
    pub upstream_retries: Counter,
    /// 1 while the circuit breaker is open.
    pub breaker_open: Gauge,
    /// How often it has opened.
    pub breaker_openings: Counter,
    /// Attempts that it has refused.
    pub breaker_refusals: Counter,
    /// Calls that were told what an earlier call with their key was told.
    pub idempotency_replays: Counter,
    /// Calls refused because their key was used for another request.
    pub idempotency_key_reuses: Counter,
    /// Calls with a key refused because Redis did not answer.
    pub idempotency_store_failures: Counter,
    /// Calls whose claim of their key Redis had lost by their end.
    pub idempotency_claims_lost: Counter,
    /// Records in memory forgotten before their time.
    pub idempotency_evictions: Counter,
    /// When the server's certificate ends, in seconds since 1970; 0 without TLS.
    pub certificate_ends: Gauge,
}

impl std::ops::Deref for Metrics {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}

impl Metrics {
    /// All of them in the OpenMetrics text format.
    pub fn page(&self) -> String {
        let mut registry = Registry::with_prefix("totp_facade");
        for (name, help, counter) in [
            (
                "upstream_retries",
                "Attempts at Stytch after the first of their call",
                &self.upstream_retries,
            ),
            (
                "upstream_breaker_openings",
                "How often the circuit breaker has opened",
                &self.breaker_openings,
            ),
            (
                "upstream_breaker_refusals",
                "Attempts at Stytch that the open circuit breaker has refused",
                &self.breaker_refusals,
            ),
            (
                "idempotency_replays",
                "Calls told what an earlier call with their idempotency key was told",
                &self.idempotency_replays,
            ),
            (
                "idempotency_key_reuses",
                "Calls refused because their idempotency key was used for another request",
                &self.idempotency_key_reuses,
            ),
            (
                "idempotency_store_failures",
                "Calls with an idempotency key refused because the store did not answer",
                &self.idempotency_store_failures,
            ),
            (
                "idempotency_claims_lost",
                "Calls whose claim of their idempotency key Redis had lost by their end",
                &self.idempotency_claims_lost,
            ),
            (
                "idempotency_evictions",
                "Idempotency records in memory forgotten before their time",
                &self.idempotency_evictions,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "upstream_breaker_open",
            "1 while the circuit breaker is open, else 0",
            self.breaker_open.clone(),
        );
        if self.certificate_ends.get() != 0 {
            registry.register(
                "tls_certificate_expiration_timestamp_seconds",
                "When the certificate of the gRPC port ends, in seconds since 1970",
                self.certificate_ends.clone(),
            );
        }
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut page, &registry);
        page
    }
}
