#!/usr/bin/env python3
"""Checks deploy/ against the real thing: two façades in front of the sandbox, one with TLS and Redis, one with neither;
calls of several callers and of every fault; and a Prometheus that scrapes both with the rules. Every query of the
dashboard and every recording rule must return a series, every metric of an alert must exist, and each fault must show
where docs/operations.md says.

Takes promtool, prometheus, redis-server and openssl from PATH, and a Python with examples/python/requirements.txt.
"""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

# It reports a refused certificate as corruption.
os.environ["GRPC_VERBOSITY"] = "NONE"

import grpc

from expect import PATIENCE, check, wait_until
from facade import ROOT, facade

sys.path.append(str(ROOT / "proto"))
totp, totp_grpc = grpc.protos_and_services("stytch/b2b/totp/v1/totp.proto")
codes, codes_grpc = grpc.protos_and_services("stytch/b2b/recovery_codes/v1/recovery_codes.proto")

RULES, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
POLICY = """
[[caller]]
name = "login"
identities = ["token:login"]
methods = ["*"]

[[caller]]
name = "batch"
identities = ["token:batch"]
methods = ["TotpService/Create"]
rate = { per_second = 1, burst = 2 }
"""
# In place of Grafana's variables.
VARIABLES = {"$job": ".+", "$instance": ".+", "$__rate_interval": "15s", "$__range": "2m"}
# What was done, and the query that tells it from the others, as the panels do.
FAULTS = {
    "Stytch refuses": 'sum(increase(http_client_request_duration_seconds_count{error_type="500"}[1m])) > 0',
    "Stytch is slow": 'sum(increase(grpc_server_handled_total{grpc_code="DeadlineExceeded"}[1m])) > 0',
    "Redis is away, for one replica": "count(sum by (instance) (increase("
    "totp_facade_idempotency_store_failures_total[1m])) > 0) == 1",
    "a caller is at its limit": "sum(increase(totp_facade_calls_total{"
    'caller="batch",grpc_code="ResourceExhausted",upstream="not_sent"}[1m])) > 0',
    "a replica is overloaded": "count(sum by (instance) (increase(totp_facade_calls_shed_total[1m])) > 0) == 1",
}


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), text=True, capture_output=True, timeout=PATIENCE, **options)
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    print(f"ok: {' '.join(map(str, command[:3]))}", flush=True)
    return done.stdout


def static():
    run("promtool", "check", "rules", RULES / "rules.yml", RULES / "alerts.yml")
    run("promtool", "test", "rules", RULES / "tests.yml")
    printed = run("python3", GRAFANA / "dashboard.py")
    check("dashboard.py prints totp-facade.json", printed == (GRAFANA / "totp-facade.json").read_text(), True)


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@contextmanager
def process(*command, **options):
    it = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    try:
        yield it
    finally:
        it.terminate()
        it.wait(timeout=PATIENCE)


def connects(port):
    with socket.socket() as it:
        return it.connect_ex(("127.0.0.1", port)) == 0


def get(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return response.read().decode()


class Prometheus:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}/api/v1/query?"

    def series(self, query):
        answer = json.loads(get(self.url + urllib.parse.urlencode({"query": query})))
        return answer["data"]["result"]


@contextmanager
def prometheus(folder, admins):
    """A Prometheus that scrapes these addresses every second and evaluates the rules as often."""
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / "rules.yml"), str(RULES / "alerts.yml")],
        "scrape_configs": [{"job_name": "totp-facade", "static_configs": [{"targets": admins}]}],
    }))
    run("promtool", "check", "config", config)
    port = free_port()
    flags = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=error"]
    flags.append(f"--web.listen-address=127.0.0.1:{port}")
    with process("prometheus", *flags):
        wait_until(lambda: connects(port), "Prometheus listens")
        yield Prometheus(port)


class Caller:
    """Calls one façade; no failure of a call is one of the script."""

    def __init__(self, addr, certificate=None):
        credentials = certificate and grpc.ssl_channel_credentials(certificate.read_bytes())
        channel = grpc.secure_channel(addr, credentials) if credentials else grpc.insecure_channel(addr)
        self.totp, self.codes = totp_grpc.TotpServiceStub(channel), codes_grpc.RecoveryCodesServiceStub(channel)
        self.pending = []

    def call(self, method, request, token=None, key=None, timeout=5):
        metadata = [("authorization", f"Bearer {token}")] if token else []
        metadata += [("idempotency-key", key)] if key else []
        self.pending.append(method.future(request, timeout=timeout, metadata=metadata))

    def round(self, number):
        """Calls of everybody: some succeed, and each fault has some."""
        ids = {"organization_id": "example-works"}
        fresh = totp.CreateRequest(member_id="fresh", **ids)
        for index in range(10):
            self.call(self.totp.Create, fresh, "login", f"key-{number}-{index // 2}")
        for member in ["enrolled", "locked", "rate-limited", "internal-error", "bad-gateway", "nobody"]:
            self.call(self.totp.Create, totp.CreateRequest(member_id=member, **ids), "login")
        self.call(self.totp.Create, totp.CreateRequest(member_id="slow", **ids), "login", timeout=0.3)
        self.call(self.totp.Create, totp.CreateRequest(**ids), "login")
        self.call(self.codes.Get, codes.GetRequest(member_id="enrolled", **ids), "login")
        self.call(self.codes.Get, codes.GetRequest(member_id="enrolled", **ids), "batch")
        self.call(self.totp.Create, fresh, "nobody")
        for _ in range(5):
            self.call(self.totp.Create, fresh, "batch")
        for call in self.pending:
            call.exception()
        self.pending.clear()


def load(callers, seconds):
    start, number = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        number += 1
        for caller in callers:
            caller.round(number)


def queries():
    """Yields each query of the dashboard and each recording rule's name, with where it is from."""
    for panel in json.loads((GRAFANA / "totp-facade.json").read_text())["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            yield f"panel {panel['title']}", query
    for record in re.findall(r"record: (\S+)", (RULES / "rules.yml").read_text()):
        yield "rule", record
    expressions = re.sub(r"#.*|\{\{.*?\}\}", "", (RULES / "alerts.yml").read_text())
    names = re.findall(r"\b(?:totp_facade|grpc|job)[_:][a-z0-9_:]+\b(?=[\[{ )])", expressions)
    for name in sorted(set(names) - {"grpc_method"}):
        yield "alerts", f"count({name})"


def all_return_series(prometheus):
    empty = []
    for where, query in queries():
        if not prometheus.series(query):
            empty.append(f"{where}: {query}")
    if empty:
        sys.exit("these return no series:\n" + "\n".join(empty))
    print(f"ok: {sum(1 for _ in queries())} queries return a series", flush=True)


def faults_show(prometheus):
    for fault, query in FAULTS.items():
        check(f"the metrics say that {fault}", bool(prometheus.series(query)), True)


def certificate(folder):
    pem, key = folder / "tls.pem", folder / "tls.key"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", pem, "-keyout", key)
    return pem, key


def tokens(folder):
    """Tokens that are the names of their callers."""
    path = folder / "tokens"
    lines = (f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ["login", "batch"])
    path.write_text("".join(lines))
    return path


def main():
    static()
    subprocess.run(["cargo", "build", "--quiet"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy, (pem, key), redis = folder / "callers.toml", certificate(folder), free_port()
        policy.write_text(POLICY)
        known = ["--tokens-file", str(tokens(folder)), "--callers-file", str(policy), "--log", "warn"]
        tls = ["--tls-cert-file", str(pem), "--tls-key-file", str(key)]
        # Calls to a slow Stytch go on after their caller has gone, and soon fill it.
        small = ["--max-in-flight", "12"]
        shared = {"TOTP_FACADE_IDEMPOTENCY_URL": f"redis://127.0.0.1:{redis}"}
        options = ["--port", redis, "--save", "", "--appendonly", "no"]
        with (
            process("redis-server", *options, cwd=folder) as store,
            facade("dev", *known, *tls, lines=3, stderr=subprocess.DEVNULL, **shared) as one,
            facade("dev", *known, *small, lines=3, stderr=subprocess.DEVNULL) as two,
            prometheus(folder, [one["admin"], two["admin"]]) as server,
        ):
            callers = [Caller(one["grpc"], pem), Caller(two["grpc"])]
            load(callers, 15)
            run("promtool", "check", "metrics", input=get(f"http://{one['admin']}/metrics"))
            # Redis goes away: its operations fail.
            store.terminate()
            load(callers, 10)
            all_return_series(server)
            faults_show(server)


main()
