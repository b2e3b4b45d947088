"""Replicas of the façade that share a Redis and a sandbox, and are stopped, killed and started anew on their ports."""

import hashlib
import json
import os
import signal
import urllib.request
from contextlib import contextmanager
from subprocess import DEVNULL, PIPE

from expect import PATIENCE, check
from facade import PROGRAM
from process import end, first_lines, free_port, process, running, start, wait_until_listening

DOMAIN = "spiffe://example.org"
LOGIN, SUPPORT = f"{DOMAIN}/ns/web/sa/login", f"{DOMAIN}/ns/web/sa/support"
POLICY = f"""
[[caller]]
name = "login"
identities = ["token:login", "{LOGIN}"]
methods = ["*"]

[[caller]]
name = "support"
identities = ["token:support", "{SUPPORT}"]
methods = ["RecoveryCodesService/Get"]
"""


class Sandbox:
    """Stytch, for all replicas."""

    def __init__(self, addr, project, secret):
        self.url = f"http://{addr}"
        self.settings = {"STYTCH_PROJECT_ID": project, "STYTCH_SECRET": secret, "STYTCH_BASE_URL": self.url}

    def ask(self, method, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/faults", data=data, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or "null")

    def rule(self, path, **fault):
        """Makes a path behave so, and counts the requests from now on."""
        self.ask("DELETE")
        self.ask("POST", {"path": path, "fault": fault})

    def asked(self):
        (rule,) = self.ask("GET")
        return rule["met"]


@contextmanager
def sandbox():
    command = [PROGRAM, "sandbox", "--sandbox-addr", "127.0.0.1:0", "--sandbox-control"]
    with running(*command, text=True, stdout=PIPE, stderr=DEVNULL) as it:
        addr, project, secret = map(str.strip, first_lines(it, 3))
        addr = addr.removeprefix("sandbox listening on ")
        yield Sandbox(addr, *(line.partition("=")[2] for line in [project, secret]))


@contextmanager
def redis(folder):
    port = free_port()
    with process(port, "redis-server", "--port", port, "--save", "", "--appendonly", "no", cwd=folder):
        yield f"redis://127.0.0.1:{port}"


def callers(folder):
    """Settings by which the façade knows its callers: tokens that are the names of their owners, and the policy."""
    tokens, policy = folder / "tokens", folder / "callers.toml"
    lines = (f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ["login", "support"])
    tokens.write_text("".join(lines))
    policy.write_text(POLICY)
    return {"TOTP_FACADE_TOKENS_FILE": str(tokens), "TOTP_FACADE_CALLERS_FILE": str(policy)}


class Replica:
    """One façade, with the settings of production wherever the check does not need others."""

    def __init__(self, **settings):
        self.port, self.admin = free_port(), free_port()
        self.settings = {"TOTP_FACADE_GRPC_ADDR": f"127.0.0.1:{self.port}",
                         "TOTP_FACADE_ADMIN_ADDR": f"127.0.0.1:{self.admin}", "RUST_LOG": "error,audit=off"} | settings
        self.process = None

    def start(self, **settings):
        env = os.environ | {name: str(value) for name, value in (self.settings | settings).items()}
        self.process = start(PROGRAM, "serve", env=env, stdout=DEVNULL)
        wait_until_listening(self.process, self.port)

    def roll(self):
        """Stops the replica as an orchestrator does, and starts it anew."""
        code = end(self.process)
        if code != 0:
            check("a replica that drains ends with", code, 0)
        self.start()

    def kill(self):
        end(self.process, signal.SIGKILL)


@contextmanager
def replicas(count, **settings):
    them = [Replica(**settings) for _ in range(count)]
    try:
        for replica in them:
            replica.start()
        yield them
    finally:
        for replica in them:
            if replica.process:
                replica.kill()
