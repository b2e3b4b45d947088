"""A façade that is observed: ordinary calls of several callers, and faults that observability.py makes with them."""

import time

import grpc

from expect import PATIENCE, wait_until
from prometheus import get
from sandbox import Sandbox
from stubs import codes, codes_grpc, totp, totp_grpc

POLICY = """
[[caller]]
name = "login"
identities = ["token:login"]
methods = ["*"]

[[caller]]
name = "batch"
identities = ["token:batch"]
methods = ["RecoveryCodesService/Rotate"]
rate = { per_second = 2, burst = 4 }
"""
# What Stytch takes at most times. It takes longer for a crowd: than a fault lasts, so that a full replica stays full
# however slowly this script calls, and less than the façade waits.
ENROLLED = "member-test-00000000-0000-4000-8000-000000000002"
USUAL = [{"member_id": ENROLLED, "fault": {"latency": "7s"}}, {"fault": {"latency": "400ms"}}]
IDS = {"organization_id": "example-works"}
FRESH = totp.CreateRequest(member_id="fresh", **IDS)
ROTATE = codes.RotateRequest(member_id="enrolled", **IDS)
READ = codes.GetRequest(member_id="enrolled", **IDS)
ROUND = 0.5  # seconds
# The connections of a crowd and what each sends at once; a replica takes LIMIT calls.
CROWD, OF_CROWD, LIMIT = 6, 18, 64


class Observed:
    """One façade, the sandbox behind it, and those who call it. No failure of a call is one of the script."""

    def __init__(self, addrs, certificate):
        self.admin, self.sandbox = addrs["admin"], Sandbox(addrs["sandbox"])
        self.calls, self.rounds = [], 0
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        # Otherwise channels to one address share a connection.
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [grpc.secure_channel(addrs["grpc"], credentials, own) for _ in range(1 + CROWD)]
        self.totp = totp_grpc.TotpServiceStub(channels[0])
        self.codes, *self.crowd = map(codes_grpc.RecoveryCodesServiceStub, channels)
        self.stytch()

    def stytch(self, **fault):
        """Makes Stytch behave as usual, or have a fault."""
        self.sandbox.rules(*([{"fault": fault}] if fault else USUAL))

    def call(self, method, request, token, key=None, traceparent=None):
        more = {"idempotency-key": key, "traceparent": traceparent}
        metadata = [("authorization", f"Bearer {token}"), *((name, value) for name, value in more.items() if value)]
        call = method.future(request, timeout=PATIENCE, metadata=metadata)
        self.calls.append(call)
        return call

    def round(self):
        """What happens at all times: calls that succeed, retries, and some that are refused. Few of them create,
        because the sandbox, which is in the same process as the admin port, takes long for a QR code.
        """
        self.rounds += 1
        for key in ["one", "two", "two"]:
            self.call(self.codes.Rotate, ROTATE, "login", f"{self.admin}-{self.rounds}-{key}")
        self.call(self.codes.Get, READ, "login")
        self.call(self.totp.Create, totp.CreateRequest(member_id="nobody", **IDS), "login")
        if self.rounds % 4 == 0:
            self.call(self.totp.Create, FRESH, "login")
            self.call(self.codes.Rotate, ROTATE, "batch")
            self.call(self.totp.Create, FRESH, "nobody")
            self.call(self.totp.Create, totp.CreateRequest(**IDS), "login")
            self.call(self.codes.Get, READ, "batch")

    def hurry(self):
        """The caller with a rate sends more than that."""
        for _ in range(10):
            self.call(self.codes.Rotate, ROTATE, "batch")

    def overload(self):
        """Many connections send more calls than the replica takes at once."""
        for stub in self.crowd:
            for _ in range(OF_CROWD):
                self.call(stub.Get, codes.GetRequest(member_id=ENROLLED, **IDS), "login")

    def settle(self):
        """Waits until no call is left and the breaker is closed."""
        self.stytch()
        wait_until(self.is_calm, f"{self.admin} is calm")

    def is_calm(self):
        for call in self.calls:
            call.exception()
        self.calls.clear()
        page = get(f"http://{self.admin}/metrics").splitlines()
        if "totp_facade_upstream_breaker_open 0" in page and "totp_facade_calls_in_flight 0" in page:
            return True
        # An open breaker closes at a call that is answered.
        self.call(self.codes.Get, READ, "login")
        return False


def load(replicas, seconds, *more):
    """Calls all replicas for some seconds, and does the rest in every round."""
    until = time.monotonic() + seconds
    while (start := time.monotonic()) < until:
        for each in [*(replica.round for replica in replicas), *more]:
            each()
        time.sleep(max(0, start + ROUND - time.monotonic()))
