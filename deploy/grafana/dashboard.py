#!/usr/bin/env python3
"""Prints totp-facade.json, the dashboard: `deploy/grafana/dashboard.py > deploy/grafana/totp-facade.json`.

A panel is a title, queries with their legends, a unit, and a description that says what it shows and what to look at
next. Everything else is the same for all panels, but that p99 of calls shows exemplars.
"""

import json

OURS = 'job=~"$job",instance=~"$instance"'
STYTCH = f'{OURS},grpc_service=~"stytch[.].+"'
BAD = 'grpc_code=~"Unknown|DeadlineExceeded|Unavailable|Internal|DataLoss"'
RATE = "$__rate_interval"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def rate(metric, labels=OURS):
    return f"rate({metric}{{{labels}}}[{RATE}])"


def by(labels, expression, function="sum"):
    return f"{function} by ({labels}) ({expression})"


def quantile(share, histogram, labels="", selector=OURS):
    inner = by(", ".join(filter(None, ["le", labels])), rate(f"{histogram}_bucket", selector))
    return f"histogram_quantile({share}, {inner})"


def quantiles(histogram, labels="", legend="", selector=OURS):
    return [
        (quantile(share, histogram, labels, selector), f"p{int(share * 100)} {legend}".strip())
        for share in (0.5, 0.9, 0.99)
    ]


HANDLED, HANDLING = "grpc_server_handled_total", "grpc_server_handling_seconds"
REQUESTS = "http_client_request_duration_seconds"
STORE = "totp_facade_idempotency_store_duration_seconds"
CALLS = "totp_facade_calls_total"


def gauge(name, legend):
    return (f"totp_facade_{name}{{{OURS}}}", legend)


def limit(name, used):
    """The limit of a gauge once half of it is used. Before that, the line would press the others to the ground."""
    return (f"max(totp_facade_{name}_limit{{{OURS}}}) < 2 * max(totp_facade_{used}{{{OURS}}})", "limit")


ROWS = [
    ("Is something wrong?", [
        ("stat", "Replicas ready", [(f"sum(totp_facade_ready{{{OURS}}})", "ready")], "short",
         "Replicas that Prometheus reaches and that do not drain. Next: if they are fewer than you run, Age of "
         "replicas, their logs, and the platform."),
        ("stat", "Calls that fail", [('max(job:totp_facade_calls_bad:ratio_rate5m{job=~"$job"})', "bad")],
         "percentunit", "Share of calls of the last five minutes that failed here or at Stytch; the objective is "
         "below 0.1 %. Next: if it is high, Errors by code, then Requests that fail, to tell us from Stytch."),
        ("stat", "Calls over a second", [('max(job:totp_facade_calls_slow:ratio_rate5m{job=~"$job"})', "slow")],
         "percentunit", "Share of calls of the last five minutes that took longer than a second; the objective is "
         "below 1 %. Next: if it is high, Latency beside Stytch's latency."),
        ("stat", "Breakers open", [(f"sum(totp_facade_upstream_breaker_open{{{OURS}}})", "open")], "short",
         "Replicas whose circuit breaker is open. All of them: Stytch is away. One: its network. Next: Breaker and "
         "retries."),
        ("stat", "Outcomes unknown", [
            (f'ceil(sum(increase(totp_facade_audit_outcomes_total{{{OURS},outcome="unknown"}}[$__range]))) or vector(0)',
             "calls")], "short", "Calls in the range shown that may or may not have taken effect, once they have really "
         "ended. Next: Calls by outcome, and the audit trail for the members."),
        ("stat", "Certificate ends in", [
            (f"min(totp_facade_certificate_expiration_timestamp_seconds{{{OURS}}}) - time()", "left")], "s",
         "Time until the first certificate or authority ends; no data without TLS. Next: Certificates and authorities."),
    ]),
    ("Calls by method", [
        ("timeseries", "Rate", [(by("grpc_method", rate(HANDLED, STYTCH)), "{{grpc_method}}")], "reqps",
         "Calls a second by method. A sudden change with one method is a caller's. Next: Calls by caller."),
        ("timeseries", "Errors by code", [
            (by("grpc_code", rate(HANDLED, STYTCH + ',grpc_code!="OK"')), "{{grpc_code}}")], "reqps",
         "Calls a second that were not OK. Next: for Unavailable, DeadlineExceeded and Unknown, Requests that fail; "
         "for ResourceExhausted, Unauthenticated and PermissionDenied, Refused here; for Internal, Errors that Stytch "
         "returns."),
        ("timeseries", "Latency", quantiles(HANDLING, selector=STYTCH), "s",
         "How long calls take, with Stytch. If Stytch's latency rises too, it is Stytch; otherwise it is us. Next: "
         "Stytch's latency, then Workers and Store latency. A point is one traced call: docs/traces.md."),
        ("timeseries", "p99 by method", [
            (quantile(0.99, HANDLING, "grpc_method", STYTCH), "{{grpc_method}}")], "s",
         "The slowest hundredth of each method. One method alone: its endpoint at Stytch. Next: Stytch's p99 by "
         "route."),
    ]),
    ("Replicas", [
        ("timeseries", "Rate by replica", [(by("instance", rate(HANDLED, STYTCH)), "{{instance}}")], "reqps",
         "Calls a second by replica. They should be alike; one that gets more has connections that others lack. Next: "
         "Connections."),
        ("timeseries", "Failures by replica", [
            (by("instance", rate(HANDLED, f"{STYTCH},{BAD}") + " or " + rate("totp_facade_calls_shed_total")),
             "{{instance}}")], "reqps",
         "Calls a second that failed or were shed, by replica. Next: if it is one alone, Calls in flight, then take "
         "it out of service and look at its logs; if it is all, Requests that fail, then Refused here."),
        ("timeseries", "p99 by replica", [(quantile(0.99, HANDLING, "instance", STYTCH), "{{instance}}")], "s",
         "The slowest hundredth by replica. Next: if it is one alone, Workers, CPU and Calls in flight of that "
         "replica."),
        ("timeseries", "OpenTelemetry's view", [
            (by("rpc_status_code", rate("rpc_server_call_duration_seconds_count")),
             "{{rpc_status_code}}")], "reqps",
         "All calls by status under the names of OpenTelemetry's conventions, for those who compare services with them. "
         "Next: Errors by code."),
    ]),
    ("Callers", [
        ("timeseries", "Calls by caller", [(by("caller", rate(CALLS)), "{{caller}}")], "reqps",
         "Calls a second by the caller's name in the policy. Next: if one is far above its usual, Errors by caller."),
        ("timeseries", "Errors by caller", [
            (by("caller, grpc_code", rate(CALLS, OURS + ',grpc_code!="OK"')), "{{caller}} {{grpc_code}}")], "reqps",
         "Calls a second that were not OK, by caller and code. One caller alone: it is that caller. ResourceExhausted "
         "is its rate, or overload. Next: Refused here."),
        ("timeseries", "Refused here", [(by("reason", rate("totp_facade_refusals_total")) + " > 0",
         "{{reason}}")], "reqps", "Calls a second that nothing was sent for, by reason. CIRCUIT_OPEN and "
         "UPSTREAM_UNREACHABLE: Stytch. IDEMPOTENCY_STORE_UNAVAILABLE: Redis. Next: for CALLER_RATE_LIMITED, Errors "
         "by caller; for OVERLOADED, Calls in flight; for Stytch, Requests that fail; for Redis, Store errors."),
        ("timeseries", "Calls by outcome", [(by("upstream", rate(CALLS)), "{{upstream}}")], "reqps",
         "What each caller was told: done, rejected by Stytch, not sent, or unknown, as when it did not wait. Next: "
         "for what is known in the end, Outcomes unknown, the audit trail, and Requests that fail."),
    ]),
    ("Stytch", [
        ("timeseries", "Stytch's latency", quantiles(REQUESTS), "s",
         "How long requests to Stytch take. If it has risen as Latency has, it is Stytch; look at its status page. "
         "Next: Stytch's p99 by route."),
        ("timeseries", "Stytch's p99 by route", [(quantile(0.99, REQUESTS, "url_template"), "{{url_template}}")],
         "s", "The slowest hundredth by route. One alone: that endpoint. All: Stytch, or the network to it. Next: "
         "Requests that fail, for those that take too long."),
        ("timeseries", "Requests that fail", [
            (by("error_type", rate(f"{REQUESTS}_count", OURS + ',error_type!=""')), "{{error_type}}")], "reqps",
         "Requests to Stytch a second without a success, by status or kind. 5xx, timeout, disconnected: Stytch. "
         "unreachable: the network, or Stytch. Next: for unreachable, Failures by replica; for 4xx, Errors that "
         "Stytch returns."),
        ("timeseries", "Errors that Stytch returns", [
            (by("error_type", rate("totp_facade_upstream_errors_total")), "{{error_type}}")], "reqps",
         "What Stytch refuses, by its own type. unauthorized_credentials: our secret; too_many_requests: Stytch's "
         "rate limit; the rest is about members and codes. Next: for too_many_requests, Calls by caller; for our "
         "secret, Reloads that fail."),
        ("timeseries", "Breaker and retries", [
            (by("instance", f"totp_facade_upstream_breaker_open{{{OURS}}}", "max"), "open {{instance}}"),
            (f"sum({rate('totp_facade_upstream_retries_total')})", "retries"),
            (f"sum({rate('totp_facade_upstream_breaker_refusals_total')})", "refused by the breaker"),
            (f"sum({rate('totp_facade_upstream_breaker_openings_total')})", "openings")], "short",
         "1 for each replica with an open breaker, and retries a second. Retries rise before a breaker opens. Next: "
         "Requests that fail."),
        ("timeseries", "Connections to Stytch", [
            (f"sum({rate('totp_facade_upstream_connections_opened_total')})", "opened a second"),
            (f"sum({rate('totp_facade_upstream_connections_reused_total')})", "requests on open ones"),
            (f"sum(totp_facade_upstream_connections_open{{{OURS}}})", "open")], "short",
         "Requests should go out on open connections. Many opened ones cost a handshake each: something closes them, "
         "or Stytch has no HTTP/2 for us. Next: Requests that fail, for disconnected."),
        ("timeseries", "Retries left", [
            (by("instance", f"totp_facade_upstream_retry_budget_left{{{OURS}}}", "min"), "{{instance}}")], "short",
         "Retries that the budget of each replica permits. At 0, calls that could be retried fail at once: failures "
         "have lasted. Next: Requests that fail."),
    ]),
    ("Idempotency and Redis", [
        ("timeseries", "Keyed calls", [(by("outcome", rate("totp_facade_idempotency_calls_total")), "{{outcome}}")],
         "reqps", "Calls with an idempotency key, by what became of them. Many replays: callers retry. Next: for "
         "replays, Latency; for store_failed, Store latency."),
        ("timeseries", "Store latency", [
            (quantile(0.99, STORE, "store, operation"), "p99 {{store}} {{operation}}")], "s",
         "How long the store takes for each operation. Redis above some milliseconds: it, or the network to it. "
         "Next: Store errors."),
        ("timeseries", "Store errors", [
            (by("store, operation, error_type", rate(f"{STORE}_count", OURS + ',error_type!=""')),
             "{{store}} {{operation}} {{error_type}}"),
            (f"sum({rate('totp_facade_idempotency_store_failures_total')})", "calls refused"),
            (f"sum({rate('totp_facade_idempotency_claims_lost_total')})", "claims lost"),
            (f"sum({rate('totp_facade_idempotency_key_reuses_total')})", "keys reused")], "short",
         "Operations that failed, and calls refused for it. It is Redis if all replicas have them. Claims lost: Redis "
         "failed over or evicts. Keys reused: a caller's mistake. Next: Failures by replica; for keys reused, Errors "
         "by caller."),
        ("timeseries", "Records and waiters", [
            gauge("idempotency_records", "records {{instance}}"),
            gauge("idempotency_waiters", "waiters {{instance}}"),
            (f"sum({rate('totp_facade_idempotency_evictions_total')})", "evicted"),
            (f"sum({rate('totp_facade_idempotency_replays_total')})", "replayed")], "short",
         "Records of the memory store, and calls that wait for another one with their key. Evictions: the store is "
         "too small. Many waiters: slow calls that callers retry. Next: for evictions, Memory of records; for "
         "waiters, Stytch's latency."),
        ("timeseries", "Memory of records", [gauge("idempotency_record_bytes", "{{instance}}")], "bytes",
         "What the memory store holds; its limit is TOTP_FACADE_IDEMPOTENCY_MAX_BYTES. Next: at the limit, Records "
         "and waiters."),
    ]),
    ("Saturation", [
        ("timeseries", "Calls in flight", [gauge("calls_in_flight", "{{instance}}"),
            limit("calls", "calls_in_flight")], "short",
         "Calls in flight by replica, and the limit once half of it is used. One near the limit: that replica is "
         "overloaded; all: more load than capacity, or a slow Stytch. Next: Stytch's latency."),
        ("timeseries", "Shed, evicted, refused", [
            (by("limit", rate("totp_facade_calls_shed_total")), "shed: {{limit}}"),
            (by("reason", rate("totp_facade_connections_evicted_total")), "evicted: {{reason}}"),
            (by("reason", rate("totp_facade_connections_refused_total")), "refused: {{reason}}")], "short",
         "What the limits cost. Shed by process: overload; by connection: one caller sends too much on one "
         "connection. Evicted: too many connections. Next: for calls that were shed, Calls by caller; for "
         "connections, Connections."),
        ("timeseries", "Connections", [gauge("connections_open", "{{instance}}"),
            limit("connections", "connections_open")], "short",
         "Open connections by replica, and the limit once half of it is used. At the limit: a caller opens one for "
         "each call, or many proxies. Next: Shed, evicted, refused."),
        ("timeseries", "Workers", [
            (by("instance", rate("totp_facade_worker_busy_seconds_total"), "max"), "busy {{instance}}"),
            (by("instance", f"totp_facade_worker_queue_depth{{{OURS}}}", "max"), "queue {{instance}}")],
         "short", "Share of time that the busiest worker of each replica is busy, and the longest queue of tasks. Near "
         "1 with a queue: the replica has too little CPU. Next: CPU."),
        ("timeseries", "CPU", [(by("instance", rate("process_cpu_seconds_total")), "{{instance}}")], "short",
         "CPUs that each replica uses. At its quota with busy workers: add replicas or CPUs. Next: Rate by replica."),
        ("timeseries", "Memory", [(f"process_resident_memory_bytes{{{OURS}}}", "{{instance}}")], "bytes",
         "Resident memory. It grows with connections and records; steady growth without either is a leak. Next: "
         "Connections, Memory of records."),
        ("timeseries", "Descriptors", [
            (f"process_open_fds{{{OURS}}} / process_max_fds{{{OURS}}}", "{{instance}}")], "percentunit",
         "Share of the file descriptors allowed that each replica has open. Near 100 %: raise the limit of the "
         "process. Next: Connections and Connections to Stytch, which take them."),
    ]),
    ("Certificates and reloads", [
        ("timeseries", "Certificates and authorities", [
            (by("file", f"totp_facade_certificate_expiration_timestamp_seconds{{{OURS}}}", "min") + " - time()",
             "{{file}}")], "s", "Time until each ends; no data without TLS. A renewal that does not show here has not "
         "been loaded. Next: Reloads that fail."),
        ("timeseries", "Reloads that fail", [
            (by("file", f"totp_facade_reload_last_failed{{{OURS}}}", "max"), "failing: {{file}}"),
            (by("file", f"increase(totp_facade_reload_failures_total{{{OURS}}}[{RATE}])"), "failures: {{file}}")],
         "short", "1 while a file's newest content cannot be used; older content stays in force. Next: the log, which "
         "says why."),
        ("timeseries", "Age of what is in force", [
            ("time() - " + by("file", f"totp_facade_reload_last_success_timestamp_seconds{{{OURS}}} > 0", "min"),
             "{{file}}")], "s", "Time since each file was last loaded. The JWKS of a URL should be minutes old. Next: "
         "Reloads that fail."),
        ("timeseries", "Audit trail", [
            (f"sum({rate('totp_facade_audit_events_total')})", "written"),
            (by("reason", rate("totp_facade_audit_events_lost_total")), "lost {{reason}}"),
            (by("instance", f"totp_facade_audit_blocked{{{OURS}}}", "max"), "blocked {{instance}}"),
            gauge("audit_calls_waiting", "waiting {{instance}}")],
         "short", "Audit events a second, 1 for each replica whose standard error takes nothing, and the calls that wait "
         "for it. Any lost event: standard error is closed or full. Next: the log collector of that replica."),
        ("timeseries", "Memory of the audit trail", [gauge("audit_pending_bytes", "{{instance}}")], "bytes",
         "What waits for standard error. Above 16 MiB, calls that change something are refused with "
         "AUDIT_TRAIL_BLOCKED. Growth: nobody reads it, or too slowly. Next: Audit trail."),
        ("timeseries", "Age of replicas", [
            (f"time() - process_start_time_seconds{{{OURS}}}", "{{instance}}")], "s",
         "Time since each process started. A line that falls to 0 is a restart, one that ends is a replica that is "
         "gone. Next: the log of that replica."),
    ]),
]


def has_exemplars(expr):
    """Whether a query's exemplars are shown: of the quantiles of one histogram, they are the same for all."""
    return expr.startswith("histogram_quantile(0.99") and HANDLING in expr


def panel(number, x, y, width, kind, title, queries, unit, description):
    is_stat = kind == "stat"
    targets = [
        {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend,
         "range": not is_stat, "instant": is_stat} | ({"exemplar": True} if has_exemplars(expr) else {})
        for i, (expr, legend) in enumerate(queries)
    ]
    if is_stat:
        options = {
            "graphMode": "none", "colorMode": "none", "justifyMode": "auto", "textMode": "value", "wideLayout": True,
            "showPercentChange": False, "percentChangeColorMode": "standard", "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "values": False, "fields": ""},
        }
    else:
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    defaults = {"unit": unit, "noValue": "no data"} | ({} if is_stat else {"min": 0, "custom": {"fillOpacity": 10}})
    return {
        "id": number, "type": kind, "title": title, "description": description, "datasource": SOURCE,
        "gridPos": {"w": width, "h": 4 if is_stat else 8, "x": x, "y": y}, "targets": targets, "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": []},
    }


def lines(row):
    """The panels of a row in lines that are full: at most four graphs in each, or six numbers."""
    most = 6 if row[0][0] == "stat" else 4
    count = -(-len(row) // most)
    ends = [-(-len(row) * i // count) for i in range(count + 1)]
    return [row[start:end] for start, end in zip(ends, ends[1:])]


def panels():
    number, y = 1, 0
    for title, row in ROWS:
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        number, y = number + 1, y + 1
        for line in lines(row):
            width = 24 // len(line)
            for place, content in enumerate(line):
                made = panel(number, place * width, y, width, *content)
                yield made
                number += 1
            y += made["gridPos"]["h"]


def variable(name, label, query):
    return {"type": "query", "name": name, "label": label, "datasource": SOURCE, "query": query, "definition": query,
            "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".+",
            "current": {"text": ["All"], "value": ["$__all"], "selected": True}}


DASHBOARD = {
    "uid": "totp-facade",
    "title": "totp-facade",
    "description": "Is it us, Stytch, Redis, one caller, or one replica? docs/operations.md walks through it.",
    "tags": ["grpc", "stytch", "totp"],
    "schemaVersion": 39,
    "editable": True,
    "graphTooltip": 1,
    "refresh": "30s",
    "time": {"from": "now-1h", "to": "now"},
    "annotations": {"list": []},
    "templating": {"list": [
        {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1},
        variable("job", "Job", "label_values(totp_facade_build_info, job)"),
        variable("instance", "Replica", 'label_values(totp_facade_build_info{job=~"$job"}, instance)'),
    ]},
    "panels": list(panels()),
}

if __name__ == "__main__":
    print(json.dumps(DASHBOARD, indent=2))
