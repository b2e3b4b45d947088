"""The client: a channel with retries, what each call carries, and the details of an error."""

import json
import os
import sys
import uuid
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# Generates the classes at run time; a real service would do that in a build step.
sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
totp_pb2, totp_pb2_grpc = grpc.protos_and_services("stytch/b2b/totp/v1/totp.proto")

DEADLINE = 15  # seconds, retries included

# Every call carries an idempotency key, so gRPC may retry it after any failure. The server's
# pushback delays retries, and stops those that cannot help. Without keys, retry reads only:
# docs/retries.md.
RETRIES = {
    "methodConfig": [
        {
            "name": [
                {"service": "stytch.b2b.totp.v1.TotpService"},
                {"service": "stytch.b2b.recovery_codes.v1.RecoveryCodesService"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": [
                    "UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "CANCELLED"
                ],
            },
        }
    ]
}


def connect():
    """Returns a channel to the façade, by TLS if its address begins with https."""
    address = os.environ.get("TOTP_FACADE_ADDR", "http://127.0.0.1:50051")
    scheme, _, target = address.rpartition("://")
    options = [("grpc.service_config", json.dumps(RETRIES))]
    if scheme != "https":
        return grpc.insecure_channel(target, options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=contents("TOTP_FACADE_CA_FILE"),
        private_key=contents("TOTP_FACADE_CLIENT_KEY_FILE"),
        certificate_chain=contents("TOTP_FACADE_CLIENT_CERT_FILE"),
    )
    return grpc.secure_channel(target, credentials, options)


def contents(variable):
    file = os.environ.get(variable)
    return Path(file).read_bytes() if file else None


def new_key():
    """Returns an idempotency key: one for each operation, the same for all its attempts."""
    return str(uuid.uuid4())


def metadata(key):
    """Returns what a call carries: its key, and the token that says who calls."""
    pairs = [("idempotency-key", key)]
    if token := os.environ.get("TOTP_FACADE_TOKEN"):
        pairs.append(("authorization", f"Bearer {token}"))
    return pairs


def call(method, request):
    """Makes one call. All its attempts share the key and the deadline."""
    return method(request, timeout=DEADLINE, metadata=metadata(new_key()))


def details(error):
    """Returns the details of a failed call: the reason, `upstream`, and the invalid fields."""
    info, fields = error_details_pb2.ErrorInfo(), []
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            fields = [violation.field for violation in bad.field_violations]
    return info.reason, info.metadata.get("upstream", ""), fields
