//! What people want to know of a façade, as facts, warnings and tables.

use std::collections::BTreeMap;

use super::{
    exposition::Sample,
    number::{age, bytes, count, rate, share},
    window::{Quantile, Window},
};

/// A certificate that ends within this time is a warning: a week, in seconds.
const SOON: f64 = 7.0 * 86_400.0;

/// The quantiles of a latency that are shown.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// What is shown of a façade.
#[derive(Debug)]
pub(super) struct Summary {
    /// Its version and age, and which time the numbers are about.
    pub(super) title: String,
    /// Lines of facts, each a name and a value.
    pub(super) facts: [Vec<(&'static str, String)>; 3],
    /// What somebody should look at.
    pub(super) warnings: Vec<String>,
    pub(super) methods: Table,
    pub(super) stytch: Table,
    pub(super) codes: Table,
    pub(super) callers: Table,
    pub(super) refusals: Table,
}

/// Rows of numbers, the most frequent first.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) title: &'static str,
    /// Whether rows say how many calls were not OK.
    pub(super) has_failed: bool,
    /// Whether rows have latencies.
    pub(super) has_latency: bool,
    pub(super) rows: Vec<Row>,
}

/// The numbers of one method, caller, code or the like.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    /// How many since the process started.
    pub(super) total: f64,
    /// How many a second.
    pub(super) rate: f64,
    /// The share that was not OK; `None` if there were none.
    pub(super) failed: Option<f64>,
    pub(super) latency: Option<[Quantile; 3]>,
}

impl Summary {
    /// Summarizes a page. Names in it may be anything, and are made safe to print.
    pub(super) fn of(window: &Window<'_>) -> Self {
        let mut summary = Self {
            title: title(window),
            facts: [traffic(window), stytch_facts(window), process(window)],
            warnings: warnings(window),
            methods: methods(window),
            stytch: stytch(window),
            codes: codes(window),
            callers: callers(window),
            refusals: refusals(window),
        };
        let Self { title, warnings, methods, stytch, codes, callers, refusals, .. } = &mut summary;
        let tables = [methods, stytch, codes, callers, refusals].into_iter();
        let names = tables.flat_map(|table| &mut table.rows).map(|row| &mut row.name);
        names.chain(warnings).chain([title]).for_each(escape);
        summary
    }
}

/// Escapes control characters, which would command the terminal.
fn escape(text: &mut String) {
    if text.contains(char::is_control) {
        let char = |char: char| match char.is_control() {
            true => char.escape_default().to_string(),
            false => char.to_string(),
        };
        *text = text.chars().map(char).collect();
    }
}

fn title(window: &Window<'_>) -> String {
    let info = window.page.named("totp_facade_build_info").next();
    let label = |name| info.map_or("", |it| it.label(name)).to_owned();
    let names = ["totp-facade".to_owned(), label("version"), label("revision")];
    let names: Vec<_> = names.into_iter().filter(|it| !it.is_empty()).collect();
    let up = window.age.map_or(String::new(), |it| format!(", up {}", age(it)));
    let span = match window.is_since_start() {
        true => "since it started".to_owned(),
        false => format!("last {:.0}s", window.seconds.max(1.0)),
    };
    format!("{}{up}, {span}", names.join(" "))
}

/// The contract's calls as a whole.
fn traffic(window: &Window<'_>) -> Vec<(&'static str, String)> {
    let is_ok = |it: Sample<'_>| it.label("grpc_code") == "OK";
    let rows = grouped(window, "totp_facade_calls_total", |_| Some(String::new()), is_ok);
    let all = rows.into_iter().next().unwrap_or_default();
    vec![
        ("calls/s", rate(all.rate)),
        ("not OK", all.failed.map_or("-".to_owned(), share)),
        ("in flight", of_limit(window, "calls_in_flight", "calls_limit")),
        ("connections", of_limit(window, "connections_open", "connections_limit")),
        ("shed/s", rate(window.total("totp_facade_calls_shed_total") / window.seconds)),
    ]
}

fn stytch_facts(window: &Window<'_>) -> Vec<(&'static str, String)> {
    let breaker = match window.page.single("totp_facade_upstream_breaker_open") {
        None => "-",
        Some(0.0) => "closed",
        Some(_) => "OPEN",
    };
    let retries = window.total("totp_facade_upstream_retries_total") / window.seconds;
    let facts = [
        ("breaker", breaker.to_owned()),
        ("retries/s", rate(retries)),
        ("retries left", gauge(window, "upstream_retry_budget_left")),
        ("to Stytch", gauge(window, "upstream_connections_open")),
        ("waiting for a key", gauge(window, "idempotency_waiters")),
    ];
    facts.into()
}

/// The process, and what has happened since it started that should not.
fn process(window: &Window<'_>) -> Vec<(&'static str, String)> {
    let since_start = |name: &str| {
        let values = window.page.named(name).map(|it| it.value);
        count(values.sum())
    };
    let unknown = window.page.named("totp_facade_audit_outcomes_total");
    let unknown = unknown.filter(|it| it.label("outcome") == "unknown").map(|it| it.value);
    let memory = window.page.single("process_resident_memory_bytes");
    vec![
        ("CPU", share(window.total("process_cpu_seconds_total") / window.seconds)),
        ("memory", memory.map_or("-".to_owned(), bytes)),
        ("ever: unknown", count(unknown.sum())),
        ("store failed", since_start("totp_facade_idempotency_store_failures_total")),
        ("audit lost", since_start("totp_facade_audit_events_lost_total")),
    ]
}

fn gauge(window: &Window<'_>, name: &str) -> String {
    window.page.single(&format!("totp_facade_{name}")).map_or("-".to_owned(), count)
}

fn of_limit(window: &Window<'_>, name: &str, limit: &str) -> String {
    format!("{}/{}", gauge(window, name), gauge(window, limit))
}

fn warnings(window: &Window<'_>) -> Vec<String> {
    let gauge = |name: &str| window.page.single(&format!("totp_facade_{name}"));
    let grew = |name: &str| window.total(&format!("totp_facade_{name}")) > 0.0;
    let mut warnings = Vec::new();
    let mut warn = |is: bool, text: &str| is.then(|| warnings.push(text.to_owned()));
    let is_old = !window.page.has("totp_facade_build_info");
    warn(is_old, "this façade is older than top: numbers are missing");
    warn(
        gauge("upstream_breaker_open").is_some_and(|it| it > 0.0),
        "Stytch does not answer: the circuit breaker is open",
    );
    let is_full = |value: &str, limit: &str| {
        gauge(value).zip(gauge(limit)).is_some_and(|(value, limit)| value >= 0.9 * limit)
    };
    warn(gauge("ready") == Some(0.0), "it drains: it ends once its open calls have");
    warn(
        gauge("audit_blocked").is_some_and(|it| it > 0.0),
        "standard error takes nothing: calls that change something wait",
    );
    warn(is_full("calls_in_flight", "calls_limit"), "the limit of calls in flight is near");
    warn(is_full("connections_open", "connections_limit"), "the limit of connections is near");
    if !window.is_since_start() {
        warn(grew("idempotency_store_failures_total"), "Redis fails: keyed calls are refused");
        warn(grew("audit_events_lost_total"), "audit records are being lost");
    }
    for file in window.page.named("totp_facade_reload_last_failed").filter(|it| it.value > 0.0) {
        warnings.push(format!("{} cannot be reloaded", file.label("file")));
    }
    for end in window.page.named("totp_facade_certificate_expiration_timestamp_seconds") {
        let left = end.value - window.now;
        if left < SOON {
            let when = if left > 0.0 { format!("ends in {}", age(left)) } else { "ended".into() };
            warnings.push(format!("the certificate {} {when}", end.label("file")));
        }
    }
    warnings
}

fn methods(window: &Window<'_>) -> Table {
    let name = |it: Sample<'_>| {
        let service = it.label("grpc_service").rsplit('.').next().unwrap_or_default();
        Some(format!("{service}/{}", it.label("grpc_method")))
    };
    let is_ok = |it: Sample<'_>| it.label("grpc_code") == "OK";
    let mut rows = grouped(window, "grpc_server_handled_total", name, is_ok);
    add_latency(window, &mut rows, "grpc_server_handling_seconds", name);
    Table { title: "Method", has_failed: true, has_latency: true, rows }
}

fn stytch(window: &Window<'_>) -> Table {
    const DURATION: &str = "http_client_request_duration_seconds";
    let name = |it: Sample<'_>| {
        let route = short_route(it.label("url_template"));
        Some(format!("{} {route}", it.label("http_request_method")))
    };
    let is_ok = |it: Sample<'_>| it.label("http_response_status_code").starts_with('2');
    let mut rows = grouped(window, &format!("{DURATION}_count"), name, is_ok);
    add_latency(window, &mut rows, DURATION, name);
    Table { title: "Stytch", has_failed: true, has_latency: true, rows }
}

fn codes(window: &Window<'_>) -> Table {
    let name = |it: Sample<'_>| label(it, "grpc_code");
    let rows = grouped(window, "totp_facade_calls_total", name, |_| true);
    Table { title: "Code", has_failed: false, has_latency: false, rows }
}

fn callers(window: &Window<'_>) -> Table {
    let name = |it: Sample<'_>| label(it, "caller");
    let is_ok = |it: Sample<'_>| it.label("grpc_code") == "OK";
    let rows = grouped(window, "totp_facade_calls_total", name, is_ok);
    Table { title: "Caller", has_failed: true, has_latency: false, rows }
}

fn refusals(window: &Window<'_>) -> Table {
    let name = |it: Sample<'_>| label(it, "reason");
    let rows = grouped(window, "totp_facade_refusals_total", name, |_| true);
    Table { title: "Refused here", has_failed: false, has_latency: false, rows }
}

/// Returns a label, if there is one.
fn label(sample: Sample<'_>, name: &str) -> Option<String> {
    Some(sample.label(name).to_owned()).filter(|it| !it.is_empty())
}

/// Shortens a route of Stytch's to what tells it from others.
fn short_route(template: &str) -> String {
    let segments = template.strip_prefix("/v1/b2b").unwrap_or(template).split('/');
    let short = segments.map(|it| if it.starts_with('{') { "*" } else { it });
    short.collect::<Vec<_>>().join("/")
}

/// Sums a counter by the names that `name` gives to its samples, and says which share is not `ok`.
/// What has never happened is left out.
fn grouped(
    window: &Window<'_>,
    counter: &str,
    name: impl Fn(Sample<'_>) -> Option<String>,
    ok: impl Fn(Sample<'_>) -> bool,
) -> Vec<Row> {
    // By name: the total, those within the window, and those of them that were not OK.
    let mut sums: BTreeMap<String, [f64; 3]> = BTreeMap::new();
    for sample in window.page.named(counter) {
        let Some(name) = name(sample).filter(|_| sample.value > 0.0) else { continue };
        let sum = sums.entry(name).or_default();
        let increase = window.increase(counter, sample);
        sum[0] += sample.value;
        sum[1] += increase;
        sum[2] += if ok(sample) { 0.0 } else { increase };
    }
    let row = |(name, [total, increase, failed]): (String, [f64; 3])| Row {
        name,
        total,
        rate: increase / window.seconds,
        failed: (increase > 0.0).then(|| failed / increase),
        latency: None,
    };
    let mut rows: Vec<_> = sums.into_iter().map(row).collect();
    // The sort is stable: by name where totals are equal.
    rows.sort_by(|one, other| other.total.total_cmp(&one.total));
    rows
}

fn add_latency(
    window: &Window<'_>,
    rows: &mut [Row],
    histogram: &str,
    name: impl Fn(Sample<'_>) -> Option<String>,
) {
    for row in rows {
        let is_of = |it: Sample<'_>| name(it).as_deref() == Some(&row.name);
        row.latency = window.quantiles(histogram, is_of, QUANTILES);
    }
}
