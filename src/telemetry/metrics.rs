//! The metrics of the process, for Prometheus. Updating one is an atomic operation without a lock.

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

/// All metrics of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Values>);

/// The only label of the metrics about reloads: `file`, the kind of file.
type ByFile = [(&'static str, &'static str); 1];

/// A gauge that is not on the page until it is first set.
type OptionalGauge = Family<[(&'static str, &'static str); 0], Gauge>;

/// Declares the metrics. A field's name is the metric's name, without the prefix `totp_facade_` and
/// the suffix `_total` of counters; its documentation is the metric's help text.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $visibility:vis $name:ident: $kind:ty,)+) => {
        /// The current values.
        #[derive(Debug, Default)]
        pub struct Values {
            $($(#[doc = $help])+ $visibility $name: $kind,)+
        }

        impl Values {
            fn registry(&self) -> Registry {
                let mut registry = Registry::with_prefix("totp_facade");
                $({
                    // The registry adds the full stop.
                    let help = concat!($($help),+).trim().trim_end_matches('.');
                    registry.register(stringify!($name), help, self.$name.clone());
                })+
                registry
            }
        }
    };
}

metrics! {
    /// Attempts to call Stytch after the first attempt of a call.
    pub upstream_retries: Counter,
    /// Response fields left unset because Stytch sent a value of an unexpected type.
    pub upstream_unset_fields: Counter,
    /// 1 while the circuit breaker is open, otherwise 0.
    pub upstream_breaker_open: Gauge,
    /// Times that the circuit breaker has opened.
    pub upstream_breaker_openings: Counter,
    /// Attempts to call Stytch that the open circuit breaker has refused.
    pub upstream_breaker_refusals: Counter,
    /// Calls answered with the recorded outcome of an earlier call with the same idempotency key.
    pub idempotency_replays: Counter,
    /// Calls refused because their idempotency key was used for another request.
    pub idempotency_key_reuses: Counter,
    /// Calls with an idempotency key refused because the idempotency store did not answer.
    pub idempotency_store_failures: Counter,
    /// Calls that ended after Redis had lost the claim of their idempotency key.
    pub idempotency_claims_lost: Counter,
    /// Idempotency records evicted from memory before they expired.
    pub idempotency_evictions: Counter,
    /// When the certificate of the gRPC port expires, in seconds since 1970.
    tls_certificate_expiration_timestamp_seconds: OptionalGauge,
    /// Failed attempts to reload a changed file, or a JWKS from its URL.
    reload_failures: Family<ByFile, Counter>,
    /// 1 if the last attempt to reload failed and older content is in use, otherwise 0.
    reload_last_failed: Family<ByFile, Gauge>,
    /// When the content in use was loaded, in seconds since 1970; 0 if never.
    reload_last_success_timestamp_seconds: Family<ByFile, Gauge>,
}

/// The metrics about reloads of one kind of file.
#[derive(Clone, Debug)]
pub struct Reloads {
    failures: Counter,
    last_failed: Gauge,
    last_success: Gauge,
}

impl Reloads {
    /// Records that new content is in use.
    pub fn succeeded(&self) {
        self.last_success.set(seconds_since_1970(SystemTime::now()));
        self.last_failed.set(0);
    }

    /// Records that the current content of the file cannot be used.
    pub fn failed(&self) {
        self.failures.inc();
        self.last_failed.set(1);
    }
}

impl std::ops::Deref for Metrics {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.0
    }
}

impl Metrics {
    /// Returns the metrics about reloads of `file`, a word for the kind of file, and adds them to
    /// the page.
    pub fn reloads(&self, file: &'static str) -> Reloads {
        let labels = [("file", file)];
        Reloads {
            failures: self.reload_failures.get_or_create_owned(&labels),
            last_failed: self.reload_last_failed.get_or_create_owned(&labels),
            last_success: self.reload_last_success_timestamp_seconds.get_or_create_owned(&labels),
        }
    }

    /// Records when the certificate of the gRPC port expires.
    pub fn certificate_expires(&self, at: SystemTime) {
        let expiration = &self.tls_certificate_expiration_timestamp_seconds;
        expiration.get_or_create(&[]).set(seconds_since_1970(at));
    }

    /// Returns all metrics in the OpenMetrics text format.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut page, &self.registry());
        page
    }
}

fn seconds_since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_each_metric_with_its_help_and_a_certificate_once_there_is_one() {
        let metrics = Metrics::default();
        metrics.upstream_retries.inc();

        let page = metrics.page();

        for line in [
            "# HELP totp_facade_upstream_retries Attempts to call Stytch after the first attempt of a call.",
            "# TYPE totp_facade_upstream_retries counter",
            "totp_facade_upstream_retries_total 1",
            "totp_facade_upstream_breaker_open 0",
        ] {
            assert!(page.lines().any(|it| it == line), "no {line} in {page}");
        }
        let name = "totp_facade_tls_certificate_expiration_timestamp_seconds";
        assert!(!page.contains(name), "{page}");
        metrics.certificate_expires(UNIX_EPOCH + std::time::Duration::from_secs(7));
        let page = metrics.page();
        assert!(page.lines().any(|it| it == format!("{name} 7")), "{page}");
    }
}
