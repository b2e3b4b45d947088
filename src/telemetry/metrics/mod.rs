//! The metrics of the process, for Prometheus.
//!
//! `table.rs` declares them all. Recording is an atomic operation or two, without a lock, a hash or
//! an allocation: the values of a label are known before the first call, so a metric with labels is
//! an array. What others keep already, such as the number of calls in flight, is read when the page
//! is written rather than counted twice.

mod buckets;
mod build;
mod calls;
mod exemplar;
mod histogram;
mod idempotency;
mod label;
mod output;
mod page;
mod process;
mod reloads;
mod saturation;
mod spans;
mod table;
mod upstream;
mod value;

use std::{fmt::Write as _, ops::Deref, sync::Arc, time::SystemTime};

pub use build::BuildInfo;
pub use calls::{CallerCalls, CallerName, Calls, Ended, Outcome, Reason};
pub use exemplar::TraceIds;
pub use histogram::Histogram;
pub use idempotency::{KeyedOutcome, StoreErrorType, StoreKind, StoreOperation};
pub use label::{Label, Labelled, Name, Registered};
pub use output::{AuditOutcome, LostEvents};
use page::Page;
pub use page::{Format, Kind, Labels, Metric, Samples};
pub use process::{Read, Reading};
pub use reloads::{File, Reloads};
pub use saturation::{EvictionReason, RefusalReason, ShedLimit};
pub use spans::Dropped;
pub use table::{Values, Worker};
pub use upstream::{ErrorTypes, HttpEnd, HttpEndpoint, HttpError, HttpRequests};
pub use value::{Counter, Gauge, OptionalGauge, Value, Watched, WatchedCounter};

/// All metrics of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Values>);

impl Deref for Metrics {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.0
    }
}

impl Metrics {
    /// Returns the metrics about reloads of `file`, a word for the kind of file, and adds them to
    /// the page.
    pub fn reloads(&self, file: &'static str) -> Reloads {
        Reloads {
            failures: self.reload_failures.register(file),
            last_failed: self.reload_last_failed.register(file),
            last_success: self.reload_last_success.register(file),
        }
    }

    /// Records when a certificate or authority expires; `None` if there is none any more.
    pub fn expires(&self, file: &str, at: Option<SystemTime>) {
        let expiration = self.certificate_expiration.register(file);
        match at {
            Some(at) => expiration.set_time(at),
            None => expiration.unset(),
        }
    }

    /// Records when the certificate of the gRPC port expires.
    pub fn certificate_expires(&self, at: SystemTime) {
        self.tls_certificate_expiration.set_time(at);
    }

    /// Returns the page with all metrics that have samples.
    pub fn page(&self, format: Format) -> String {
        let mut page = Page::new(format);
        self.each(|name, help, metric| page.add(name, help, metric));
        page.finish()
    }
}

/// Returns the table of all metrics for `docs/operations.md`.
pub fn table() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    Values::default().each(|name, help, metric| {
        let labels: Vec<_> = metric.labels().iter().map(|it| format!("`{it}`")).collect();
        let (kind, labels) = (metric.kind().as_str(), labels.join(", "));
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {help} |");
    });
    table
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn recording_allocates_nothing_whatever_is_recorded() {
        let metrics = Metrics::default();
        metrics.upstream_errors.declare(["known"]);
        let refusals = metrics.refusals.register("OVERLOADED");
        let store = (StoreKind::Redis, StoreOperation::Claim, StoreErrorType::None);
        let record = || {
            refusals.inc();
            metrics.upstream_errors.inc("known");
            metrics.upstream_errors.inc("made_up");
            metrics.upstream_breaker_open.set(1);
            metrics.idempotency_waiters.inc();
            metrics.idempotency_calls.get(KeyedOutcome::Replayed).inc();
            metrics.idempotency_store.get(store).record(Duration::from_millis(3));
            metrics.trace_spans_dropped.get(Dropped::QueueFull).add(2);
        };

        assert_eq!(allocation_counter::measure(record).count_total, 0);
    }

    #[test]
    fn the_page_shows_each_metric_with_its_help_and_a_certificate_once_there_is_one() {
        let metrics = Metrics::default();
        metrics.upstream_retries.inc();

        for (format, family) in [
            (Format::Text, "totp_facade_upstream_retries_total"),
            (Format::OpenMetrics, "totp_facade_upstream_retries"),
        ] {
            let page = metrics.page(format);

            for line in [
                &format!(
                    "# HELP {family} Attempts to call Stytch after the first attempt of a call."
                ),
                &format!("# TYPE {family} counter"),
                "totp_facade_upstream_retries_total 1",
                "totp_facade_upstream_breaker_open 0",
            ] {
                assert!(page.lines().any(|it| it == line), "no {line} in {page}");
            }
            assert_eq!(page.ends_with("# EOF\n"), format == Format::OpenMetrics);
        }
        let name = "totp_facade_tls_certificate_expiration_timestamp_seconds";
        let page = metrics.page(Format::Text);
        assert!(!page.contains(name), "{page}");
        metrics.certificate_expires(UNIX_EPOCH + Duration::from_secs(7));
        let page = metrics.page(Format::Text);
        assert!(page.lines().any(|it| it == format!("{name} 7")), "{page}");
    }
}
