//! The table of all metrics. The page and the table in `docs/operations.md` follow from it.

use super::{
    build::BuildInfo,
    calls::{ByCaller, CallDuration, Calls, Handled, Handling, Reason, Started},
    histogram::Histogram,
    idempotency::{KeyedOutcome, StoreErrorType, StoreKind, StoreOperation},
    label::{Labelled, Registered, names},
    output::{
        AuditEvents, AuditOutcome, Blocked, CallsWaiting, LostEvents, PendingBytes, SuppressedLines,
    },
    page::Metric,
    process::{
        CpuSeconds, MaxDescriptors, OpenDescriptors, Read, ResidentBytes, StartTime, Threads,
        VirtualBytes,
    },
    reloads::File,
    saturation::{EvictionReason, RefusalReason, ShedLimit},
    spans::Dropped,
    upstream::{ErrorTypes, HttpRequests},
    value::{Counter, Gauge, OptionalGauge, Watched, WatchedCounter},
};

names! {
    /// The number of a thread that serves connections.
    pub struct Worker = "worker";
}

/// Declares the metrics: the documentation is the help text, the string is the name of the samples.
/// A view shows a part of what a field holds; a value is a field of its own.
macro_rules! metrics {
    (
        views of $source:ident: $record:ty {
            $($(#[doc = $view_help:literal])+ $view:ident = $view_name:literal;)+
        }
        values {
            $($(#[doc = $help:literal])+ $visibility:vis $field:ident: $kind:ty = $name:literal;)+
        }
    ) => {
        /// The current values.
        #[derive(Debug, Default)]
        pub struct Values {
            /// What is recorded of each call.
            pub $source: $record,
            $($(#[doc = $help])+ $visibility $field: $kind,)+
        }

        impl Values {
            /// Passes each metric to `visit`, in order: its name, its help text, itself.
            pub(super) fn each(
                &self,
                mut visit: impl FnMut(&'static str, &'static str, &dyn Metric),
            ) {
                $(
                    let help = concat!($($view_help),+).trim_ascii();
                    visit($view_name, help, &$view(&self.$source));
                )+
                $(visit($name, concat!($($help),+).trim_ascii(), &self.$field);)+
            }
        }
    };
}

metrics! {
    views of calls: Calls {
        /// Calls that have started. `_OTHER` is every method that is not served.
        Started = "grpc_server_started_total";
        /// Calls that have ended, by code. A call whose caller went away first is Canceled.
        Handled = "grpc_server_handled_total";
        /// How long calls took. In OpenMetrics, with the trace of a sampled call.
        Handling = "grpc_server_handling_seconds";
        /// The same by OpenTelemetry's conventions. The code is there under its name since version
        /// 1.45 and the name before. error_type is set if the code is a server's error.
        CallDuration = "rpc_server_call_duration_seconds";
        /// Calls by caller, and by what was known when they ended for their caller: done, not_sent,
        /// rejected or unknown. A caller without a name in the policy is unknown.
        ByCaller = "totp_facade_calls_total";
    }
    values {
    /// Calls that ended here, with nothing sent to Stytch, by the reason in ErrorInfo.
    /// `NOT_GRPC`: requests that are not gRPC and no calls.
    pub refusals: Registered<Reason, Counter> = "totp_facade_refusals_total";
    /// How long requests to Stytch took, from the search for a connection to the end of the
    /// response. A request that failed has an `error_type`: its HTTP status, or `unreachable`,
    /// `disconnected`, `timeout`, `cancelled`, `unexpected_status` or `unreadable`.
    pub upstream_requests: HttpRequests = "http_client_request_duration_seconds";
    /// Errors that Stytch returned, by its error type; `other` for a type that is not known.
    pub upstream_errors: ErrorTypes = "totp_facade_upstream_errors_total";
    /// Connections to Stytch that have been opened.
    pub upstream_connections_opened: WatchedCounter = "totp_facade_upstream_connections_opened_total";
    /// Requests to Stytch that were sent on a connection that was open already.
    pub upstream_connections_reused: WatchedCounter = "totp_facade_upstream_connections_reused_total";
    /// Connections to Stytch that are open. Only on Linux.
    pub upstream_connections_open: Watched = "totp_facade_upstream_connections_open";
    /// Retries that the retry budget permits now.
    pub upstream_retry_budget_left: Watched = "totp_facade_upstream_retry_budget_left";
    /// Attempts to call Stytch after the first attempt of a call.
    pub upstream_retries: Counter = "totp_facade_upstream_retries_total";
    /// Response fields left unset because Stytch sent a value of an unexpected type.
    pub upstream_unset_fields: Counter = "totp_facade_upstream_unset_fields_total";
    /// 1 while the circuit breaker is open, otherwise 0.
    pub upstream_breaker_open: Gauge = "totp_facade_upstream_breaker_open";
    /// Times that the circuit breaker has opened.
    pub upstream_breaker_openings: Counter = "totp_facade_upstream_breaker_openings_total";
    /// Attempts to call Stytch that the open circuit breaker has refused.
    pub upstream_breaker_refusals: Counter = "totp_facade_upstream_breaker_refusals_total";
    /// Calls in flight, including those whose caller has gone.
    pub calls_in_flight: Watched = "totp_facade_calls_in_flight";
    /// The most calls that may be in flight.
    pub calls_limit: Watched = "totp_facade_calls_limit";
    /// Calls that were shed, by the limit that was reached: of the `process` or of one
    /// `connection`.
    pub calls_shed: Labelled<ShedLimit, WatchedCounter> = "totp_facade_calls_shed_total";
    /// Open connections of the gRPC port, including those in the TLS handshake.
    pub connections_open: Watched = "totp_facade_connections_open";
    /// The most connections that may be open on the gRPC port.
    pub connections_limit: Watched = "totp_facade_connections_limit";
    /// Connections of the gRPC port that were evicted: `unproven` ones in favour of new ones,
    /// `idle` ones in favour of others that make calls, and those with too many stream `resets`.
    pub connections_evicted: Labelled<EvictionReason, WatchedCounter> = "totp_facade_connections_evicted_total";
    /// Connections of the gRPC port that were refused before they could make a call.
    pub connections_refused: Labelled<RefusalReason, WatchedCounter> = "totp_facade_connections_refused_total";
    /// Calls with an idempotency key, by what became of them. `waited` calls shared the execution
    /// of another one; `lost` means that an earlier call may have been executed and its outcome is
    /// not known.
    pub idempotency_calls: Labelled<KeyedOutcome, Counter> = "totp_facade_idempotency_calls_total";
    /// Calls that wait for a call in flight with the same idempotency key.
    pub idempotency_waiters: Gauge = "totp_facade_idempotency_waiters";
    /// How long the idempotency store took for each operation. `error_type` is empty if it
    /// succeeded.
    pub idempotency_store: Labelled<(StoreKind, StoreOperation, StoreErrorType), Histogram> = "totp_facade_idempotency_store_duration_seconds";
    /// Idempotency records in memory.
    pub idempotency_records: Watched = "totp_facade_idempotency_records";
    /// What the idempotency records in memory take, in bytes.
    pub idempotency_record_bytes: Watched = "totp_facade_idempotency_record_bytes";
    /// Calls answered with the recorded outcome of an earlier call with the same idempotency key.
    pub idempotency_replays: Counter = "totp_facade_idempotency_replays_total";
    /// Calls refused because their idempotency key was used for another request.
    pub idempotency_key_reuses: Counter = "totp_facade_idempotency_key_reuses_total";
    /// Calls with an idempotency key refused because the idempotency store did not answer.
    pub idempotency_store_failures: Counter = "totp_facade_idempotency_store_failures_total";
    /// Calls that ended after Redis had lost the claim of their idempotency key. They may have been
    /// made twice.
    pub idempotency_claims_lost: Counter = "totp_facade_idempotency_claims_lost_total";
    /// Idempotency records evicted from memory before they expired.
    pub idempotency_evictions: Counter = "totp_facade_idempotency_evictions_total";
    /// When the certificate of the gRPC port expires, in seconds since 1970. Only with TLS.
    pub(super) tls_certificate_expiration: OptionalGauge = "totp_facade_tls_certificate_expiration_timestamp_seconds";
    /// When a certificate or certificate authority expires, in seconds since 1970; of several in
    /// one file, the first.
    pub(super) certificate_expiration: Registered<File, OptionalGauge> = "totp_facade_certificate_expiration_timestamp_seconds";
    /// Failed attempts to reload a changed file, or a JWKS from its URL.
    pub(super) reload_failures: Registered<File, Counter> = "totp_facade_reload_failures_total";
    /// 1 if the last attempt to reload failed and older content is in use, otherwise 0.
    pub(super) reload_last_failed: Registered<File, Gauge> = "totp_facade_reload_last_failed";
    /// When the content in use was loaded, in seconds since 1970; 0 if never.
    pub(super) reload_last_success: Registered<File, Gauge> = "totp_facade_reload_last_success_timestamp_seconds";
    /// Calls that change something and were sent to Stytch, by what is known since they really
    /// ended, which may be after their caller has gone: `done`, `rejected` or `unknown`. A replay
    /// is not counted again.
    pub audit_outcomes: Labelled<AuditOutcome, Counter> = "totp_facade_audit_outcomes_total";
    /// Audit events that were written.
    pub(super) audit_events: Read<AuditEvents> = "totp_facade_audit_events_total";
    /// Audit events that were lost: nobody reads standard error any more (`closed`), the disk is
    /// full (`full`), or writing fails in another way (`failed`).
    pub(super) audit_events_lost: LostEvents = "totp_facade_audit_events_lost_total";
    /// 1 while standard error takes nothing, so that audit events and log lines wait; otherwise 0.
    pub(super) audit_blocked: Read<Blocked> = "totp_facade_audit_blocked";
    /// Calls that wait until standard error takes their audit event.
    pub(super) audit_calls_waiting: Read<CallsWaiting> = "totp_facade_audit_calls_waiting";
    /// Bytes of audit events and log lines that wait for standard error, apart from those that are
    /// being written.
    pub(super) audit_pending_bytes: Read<PendingBytes> = "totp_facade_audit_pending_bytes";
    /// Log lines left out by a limit on lines of their kind, or because standard error was blocked.
    pub(super) log_lines_suppressed: Read<SuppressedLines> = "totp_facade_log_lines_suppressed_total";
    /// Spans that the receiver of traces has taken.
    pub trace_spans_exported: Counter = "totp_facade_trace_spans_exported_total";
    /// Spans that were recorded and did not reach the receiver of traces.
    pub trace_spans_dropped: Labelled<Dropped, Counter> = "totp_facade_trace_spans_dropped_total";
    /// How long each thread that serves connections has been busy.
    pub worker_busy: Registered<Worker, WatchedCounter> = "totp_facade_worker_busy_seconds_total";
    /// Tasks that other threads have handed to a thread that serves connections, and that wait.
    pub worker_queue: Registered<Worker, Watched> = "totp_facade_worker_queue_depth";
    /// 1 while the server serves, 0 once it drains: what `/readyz` says.
    pub ready: Gauge = "totp_facade_ready";
    /// Always 1, with the version and the commit of the build.
    pub(super) build: BuildInfo = "totp_facade_build_info";
    /// CPU time that the process has used.
    pub(super) process_cpu: Read<CpuSeconds> = "process_cpu_seconds_total";
    /// Memory of the process that is resident.
    pub(super) process_resident: Read<ResidentBytes> = "process_resident_memory_bytes";
    /// Memory that the process has mapped.
    pub(super) process_virtual: Read<VirtualBytes> = "process_virtual_memory_bytes";
    /// Open file descriptors.
    pub(super) process_descriptors: Read<OpenDescriptors> = "process_open_fds";
    /// How many file descriptors may be open.
    pub(super) process_max_descriptors: Read<MaxDescriptors> = "process_max_fds";
    /// When the process started, in seconds since 1970.
    pub(super) process_start: Read<StartTime> = "process_start_time_seconds";
    /// Threads of the process.
    pub(super) process_threads: Read<Threads> = "process_threads";
    }
}
