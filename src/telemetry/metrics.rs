//! What the process counts, for Prometheus. A counter is one atomic; nothing here locks.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
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
    /// Fields of answers left unset, for Stytch sent a value of an unexpected type.
    pub upstream_unset_fields: Counter,
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
    reload_failures: Family<ByFile, Counter>,
    reload_last_failed: Family<ByFile, Gauge>,
    reload_last_success: Family<ByFile, Gauge>,
}

/// The label `file`: which kind of file is read again when it changes.
type ByFile = [(&'static str, &'static str); 1];

/// What became of reading one kind of file, again and again.
#[derive(Clone, Debug)]
pub struct Reloads {
    failures: Counter,
    last_failed: Gauge,
    last_success: Gauge,
}

impl Reloads {
    /// What was read is in force.
    pub fn succeeded(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        self.last_failed.set(0);
    }

    /// What is there cannot be used.
    pub fn failed(&self) {
        self.failures.inc();
        self.last_failed.set(1);
    }
}

impl std::ops::Deref for Metrics {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}

impl Metrics {
    /// What becomes of reading `file`, a word for its kind. It is on the page from now on.
    pub fn reloads(&self, file: &'static str) -> Reloads {
        let labels = [("file", file)];
        Reloads {
            failures: self.reload_failures.get_or_create_owned(&labels),
            last_failed: self.reload_last_failed.get_or_create_owned(&labels),
            last_success: self.reload_last_success.get_or_create_owned(&labels),
        }
    }

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
                "upstream_unset_fields",
                "Fields of answers left unset, for Stytch sent a value of an unexpected type",
                &self.upstream_unset_fields,
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
        self.register_reloads(&mut registry);
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut page, &registry);
        page
    }
    fn register_reloads(&self, registry: &mut Registry) {
        registry.register(
            "reload_failures",
            "How often a file that changed, or a JWKS behind a URL, could not be used",
            self.reload_failures.clone(),
        );
        registry.register(
            "reload_last_failed",
            "1 while what is in the file, or behind the URL, is not what is in force, else 0",
            self.reload_last_failed.clone(),
        );
        registry.register(
            "reload_last_success_timestamp_seconds",
            "When what is in force was read, in seconds since 1970; 0 if never",
            self.reload_last_success.clone(),
        );
    }
}
