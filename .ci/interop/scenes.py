"""The façades that clients meet."""

import hashlib
import secrets
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from authority import Authority
from backends import Proxy, alive
from expect import PATIENCE, wait_until
from facade import facade
from interop.client import address
from sandbox import CREATE

LOCALHOST = x509.DNSName("localhost")
CALLER = x509.UniformResourceIdentifier("spiffe://example.org/ns/web/sa/login")
REPLACEMENTS = 6
# Of each client, between two replacements.
CALLS = 2


@dataclass
class Plain:
    """A façade in front of its sandbox."""

    addr: str
    log: object
    sandbox: object


@dataclass
class Secure:
    """One that asks for TLS, and for a token or a certificate."""

    trust: dict
    token: str
    identity: dict


@contextmanager
def plain():
    with alive() as scene:
        yield Plain(*scene)


@contextmanager
def secure():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder, "authority")
        server = authority.certify("server", LOCALHOST)
        certificate, key = authority.certify("caller", CALLER)
        token, tokens = secrets.token_urlsafe(32), folder / "tokens"
        tokens.write_text(f"login {hashlib.sha256(token.encode()).hexdigest()}\n")
        flags = ["--tls-cert-file", server[0], "--tls-key-file", server[1]]
        flags += ["--tls-client-ca-file", authority.file, "--tokens-file", tokens]
        with facade("dev", *map(str, flags), "--log", "error,audit=off", lines=3) as addrs:
            port = addrs["grpc"].rpartition(":")[2]
            trust = address(f"localhost:{port}", "https") | {"TOTP_FACADE_CA_FILE": str(authority.file)}
            identity = {
                "TOTP_FACADE_CLIENT_CERT_FILE": str(certificate),
                "TOTP_FACADE_CLIENT_KEY_FILE": str(key),
            }
            yield Secure(trust, token, identity)


class Replicas:
    """Two façades in front of one sandbox, behind one address. As in a Kubernetes Service, a new connection goes to one
    that is ready, and one that is to stop gets none."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.running = [Replica(sandbox), Replica(sandbox)]
        self.front = Proxy(self.running[0].addr)

    def replace(self):
        """The one that has the connections, by a new one."""
        old = self.running.pop(0)
        self.running.append(Replica(self.sandbox))
        self.front.forward_to(self.running[0].addr)
        old.stop()

    def stop(self):
        for replica in self.running:
            replica.stop()


class Replica:
    def __init__(self, sandbox):
        self.stack = ExitStack()
        serve = facade("serve", "--log", "warn,audit=off", **sandbox.settings)
        self.addr = self.stack.enter_context(serve)["grpc"]

    def stop(self):
        self.stack.close()


def rolled(clients, plain):
    """Each client calls, one call after the other, while the replicas are replaced; with what it got."""
    plain.sandbox.rule(CREATE, latency="20ms")
    replicas, over = Replicas(plain.sandbox), threading.Event()
    outcomes = {name: [] for name in clients}

    def caller(name, client):
        with client.at(replicas.front.addr) as other:
            while not over.is_set():
                outcomes[name].append(other.create())

    def each_calls():
        wanted = {name: len(made) + CALLS for name, made in outcomes.items()}
        wait_until(
            lambda: all(len(outcomes[name]) >= it for name, it in wanted.items()), "each client calls"
        )

    threads = [threading.Thread(target=caller, args=it, daemon=True) for it in clients.items()]
    try:
        for thread in threads:
            thread.start()
        for _ in range(REPLACEMENTS):
            each_calls()
            replicas.replace()
        each_calls()
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
        replicas.stop()
    return outcomes
