"""Replicas of the façade that share a Redis and a Stytch, and are stopped, killed and started anew on their ports."""

import hashlib
import os
import signal
from contextlib import contextmanager
from subprocess import DEVNULL

from expect import check
from facade import PROGRAM
from process import end, free_port, process, start, wait_until_listening

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
