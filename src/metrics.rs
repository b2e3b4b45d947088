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
        let Counters { upstream_retries, breaker_open, breaker_openings, breaker_refusals } =
            &**self;
        let mut counter = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        counter(
            "upstream_retries",
            "Attempts at Stytch after the first of their call",
            upstream_retries,
        );
        counter(
            "upstream_breaker_openings",
            "How often the circuit breaker has opened",
            breaker_openings,
        );
        counter(
            "upstream_breaker_refusals",
            "Attempts at Stytch that the open circuit breaker has refused",
            breaker_refusals,
        );
        registry.register(
            "upstream_breaker_open",
            "1 while the circuit breaker is open, else 0",
            breaker_open.clone(),
        );
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut page, &registry);
        page
    }
}
