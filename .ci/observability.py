#!/usr/bin/env python3
"""Checks deploy/ against the real thing: two façades in front of sandboxes, with TLS and one Redis, called by several
callers, and a Prometheus that scrapes them with the rules. Faults are made one after another. Each must show where
docs/operations.md walks through it, and in no panel that tells another one. Every query of the dashboard and every
recording rule must return a series, every metric of an alert must exist, and exemplars must lead to traces.

A picture of the dashboard is in target/ then (picture.py); with UPDATE_DOCS=1 it is that of docs/operations.md.

Takes promtool, prometheus, redis-server, openssl and chromium from PATH, and a Python with
examples/python/requirements.txt.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from expect import check, wait_until
from facade import ROOT, facade
from observed import LIMIT, POLICY, Observed, load
from process import free_port, process
from picture import draw
from prometheus import PANELS, RULES, SCRAPE, WINDOW, expressions, get, prometheus, tool
from traces import call_traced, panels_lead_to_traces, receiver

LASTS = WINDOW + 3  # seconds: a window that is over before anything is looked at, and a look


class Line(NamedTuple):
    """A line of a panel, by its legend, and what it stays below unless something is wrong."""

    panel: str
    legend: str
    least: float = 0


class Fault(NamedTuple):
    """What a fault shows, in the panels that docs/operations.md names for it."""

    alert: str
    # Shown by this fault, and perhaps by others.
    shows: list[Line]
    # Shown by this fault alone.
    tells: list[Line]
    # Not shown by this fault, which makes the difference.
    spares: list[Line]


FAULTS = {
    "Stytch is slow": Fault(
        "TotpFacadeLatencyBudgetBurns",
        [Line("Calls over a second", "slow", 0.01), Line("Latency", "p50", 2.5),
         Line("Stytch's p99 by route", "/v1/b2b/.*", 2)],
        [Line("Stytch's latency", "p50", 2.5)],
        [Line("Calls that fail", "bad"), Line("Requests that fail", "5..|timeout|disconnected|unreachable"),
         Line("Store latency", "p99 redis .*", 1)],
    ),
    "One caller is at its limit": Fault(
        "TotpFacadeCallerAtItsRate",
        [Line("Errors by code", "ResourceExhausted"), Line("Errors by caller", "batch ResourceExhausted"),
         Line("Calls by caller", "batch", 5)],
        [Line("Refused here", "CALLER_RATE_LIMITED")],
        [Line("Errors by caller", "login ResourceExhausted"), Line("Calls that fail", "bad")],
    ),
    "Stytch refuses": Fault(
        "TotpFacadeCredentialsRefused",
        [Line("Calls that fail", "bad", 0.001), Line("Errors by code", "Internal")],
        [Line("Requests that fail", "401"), Line("Errors that Stytch returns", "unauthorized_credentials")],
        [Line("Breaker and retries", "open .+"), Line("Latency", "p50", 2.5)],
    ),
    "Stytch fails": Fault(
        "TotpFacadeBreakerOpen",
        [Line("Calls that fail", "bad", 0.001), Line("Errors by code", "Unknown|Unavailable"),
         Line("Errors that Stytch returns", "internal_server_error"), Line("Failures by replica", "{one}"),
         Line("Failures by replica", "{two}")],
        [Line("Requests that fail", "5.."), Line("Breaker and retries", "open {one}"),
         Line("Breaker and retries", "open {two}"), Line("Refused here", "CIRCUIT_OPEN")],
        [Line("Latency", "p50", 2.5)],
    ),
    "One replica is overloaded": Fault(
        "TotpFacadeCallsShed",
        [Line("Calls that fail", "bad", 0.001), Line("Errors by code", "ResourceExhausted"),
         Line("Failures by replica", "{two}"), Line("Rate by replica", "{two}", 25)],
        [Line("Refused here", "OVERLOADED"), Line("Calls in flight", "{two}", 0.9 * LIMIT),
         Line("Shed, evicted, refused", "shed: process")],
        [Line("Failures by replica", "{one}"), Line("Calls in flight", "{one}", 0.5 * LIMIT),
         Line("Stytch's latency", "p50", 2.5)],
    ),
    "Redis is away": Fault(
        "TotpFacadeStoreFailing",
        [Line("Calls that fail", "bad", 0.001), Line("Errors by code", "Unavailable"),
         Line("Failures by replica", "{one}"), Line("Failures by replica", "{two}")],
        [Line("Refused here", "IDEMPOTENCY_STORE_UNAVAILABLE"), Line("Keyed calls", "store_failed"),
         Line("Store errors", "redis .+"), Line("Store errors", "calls refused")],
        [],
    ),
}


def static():
    tool("promtool", "check", "rules", RULES / "rules.yml", RULES / "alerts.yml")
    tool("promtool", "test", "rules", RULES / "tests.yml")
    folder = ROOT / "deploy/grafana"
    printed = tool("python3", folder / "dashboard.py")
    check("dashboard.py prints totp-facade.json", printed == (folder / "totp-facade.json").read_text(), True)


def pages_walk():
    """Holds docs/operations.md to the faults: each has its section, which names the panels and the alert."""
    page = (ROOT / "docs/operations.md").read_text()
    for title, fault in FAULTS.items():
        section = page.partition(f"\n### {title}\n")[2].partition("\n#")[0]
        named = {" ".join(name.split()) for name in re.findall(r"\*\*(.+?)\*\*", section, re.DOTALL)}
        lines = [*fault.shows, *fault.tells, *fault.spares]
        check(f"panels of the walk, {title}", sorted(named), sorted({line.panel for line in lines}))
        check(f"alert of the walk, {title}", fault.alert in section, True)


def certificate(folder):
    pem, key = folder / "tls.pem", folder / "tls.key"
    tool("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", pem, "-keyout", key)
    return pem, key


def tokens(folder):
    """Tokens that are the names of their callers."""
    path = folder / "tokens"
    lines = (f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ["login", "batch"])
    path.write_text("".join(lines))
    return path


def settings(folder, pem, key):
    policy = folder / "callers.toml"
    policy.write_text(POLICY)
    known = ["--tokens-file", tokens(folder), "--callers-file", policy]
    tls = ["--tls-cert-file", pem, "--tls-key-file", key]
    return map(str, [*known, *tls, "--max-in-flight", LIMIT, "--sandbox-control", "--log", "warn"])


def make(replicas, store):
    """Makes each fault in turn, with ordinary calls around it, and returns when each was to be seen."""
    one, two = replicas
    seen = {}

    def during(title, *more):
        start = time.time()
        load(replicas, LASTS, *more)
        seen[title] = (start + WINDOW + SCRAPE, time.time())
        for replica in replicas:
            replica.settle()

    during("nothing")
    for replica in replicas:
        replica.stytch(latency="3s")
    during("Stytch is slow", lambda: call_traced(one))
    during("One caller is at its limit", one.hurry, two.hurry)
    for replica in replicas:
        replica.stytch(error_type="unauthorized_credentials")
    during("Stytch refuses")
    for replica in replicas:
        replica.stytch(error_type="internal_server_error")
    during("Stytch fails")
    during("One replica is overloaded", two.overload)
    store.terminate()
    during("Redis is away")
    return seen


def each_shows_alone(server, seen, replicas):
    names = dict(zip(["one", "two"], (re.escape(replica.admin) for replica in replicas)))

    def look(title, line, expected):
        highest = server.highest(line.panel, line.legend.format(**names), *seen[title])
        what = f"during {title}: {line.panel}, {line.legend}: {highest:.3g} is above {line.least}"
        check(what, highest > line.least, expected)

    for title in seen:
        for other, fault in FAULTS.items():
            for line in fault.tells:
                look(title, line, other == title)
    for title, fault in FAULTS.items():
        for line in fault.shows:
            look(title, line, True)
        for line in fault.spares:
            look(title, line, False)


def alerts_follow(server, seen):
    """Each fault's alert is first seen during its fault; for most, what is seen is that they are pending."""
    titles = list(seen)
    for title, fault in FAULTS.items():
        query = f'ALERTS{{alertname="{fault.alert}"}}'
        known = [it for it in titles if list(server.within(query, *seen[it]))]
        check(f"{fault.alert} is first seen", known[:1], [title])


def queries():
    """Yields each query of the dashboard and each recording rule's name, with where it is from. A limit that is shown
    once half of it is used counts without that.
    """
    for title, panel in PANELS.items():
        for query, _ in expressions(panel):
            yield f"panel {title}", re.sub(r" or vector\(0\)| < 2 \* .+", "", query)
    for record in re.findall(r"record: (\S+)", (RULES / "rules.yml").read_text()):
        yield "rule", record
    alerts = re.sub(r"#.*|\{\{.*?\}\}", "", (RULES / "alerts.yml").read_text())
    names = re.findall(r"\b(?:totp_facade|grpc|job)[_:][a-z0-9_:]+\b(?=[\[{ )])", alerts)
    for name in sorted(set(names) - {"grpc_method"}):
        yield "alerts", f"count({name})"


def all_return_series(server, seen):
    times = list(seen.values())
    start, end = times[0][0], times[-1][1]
    empty = [f"{where}: {query}" for where, query in queries() if not list(server.within(query, start, end))]
    if empty:
        sys.exit("these return no series:\n" + "\n".join(empty))
    print(f"ok: {sum(1 for _ in queries())} queries return a series", flush=True)


def main():
    static()
    pages_walk()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, port = Path(name), free_port()
        pem, key = certificate(folder)
        redis = ["redis-server", "--port", port, "--save", "", "--appendonly", "no"]
        store = stack.enter_context(process(port, *redis, cwd=folder))
        flags = list(settings(folder, pem, key))

        def start(**env):
            return stack.enter_context(facade("dev", *flags, lines=3, stderr=subprocess.DEVNULL, **env))

        taken = stack.enter_context(receiver())
        shared = {"TOTP_FACADE_IDEMPOTENCY_URL": f"redis://127.0.0.1:{port}"}
        replicas = [Observed(start(**shared, **traced), pem) for traced in (taken.settings, {})]
        # The store in memory has metrics of its own.
        alone = start()["admin"]
        server = stack.enter_context(prometheus(folder, [alone, *(replica.admin for replica in replicas)]))
        wait_until(lambda: len(server.series("totp_facade_ready == 1")) == 3, "Prometheus has scraped them all")

        seen = make(replicas, store)

        for replica in replicas:
            page = get(f"http://{replica.admin}/metrics")
            check("what promtool says of the metrics", tool("promtool", "check", "metrics", input=page), "")
        each_shows_alone(server, seen, replicas)
        alerts_follow(server, seen)
        all_return_series(server, seen)
        panels_lead_to_traces(server, taken, *seen["Stytch is slow"], least=2.5)
        draw(server, seen, ROOT / ("docs" if os.environ.get("UPDATE_DOCS") else "target") / "dashboard.png")


main()
