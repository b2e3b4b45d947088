"""Enrols a member and logs in: totp-facade from Python.

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python enrol.py

Runs against `totp-facade dev`; ADDR, ORGANIZATION and MEMBER in the environment say otherwise.
"""

import base64
import json
import os
import secrets
import sys
import uuid
from pathlib import Path

import grpc
import pyotp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

# Makes the classes from the contract when it is imported; a build step does for a real service.
sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
totp_pb2, totp_pb2_grpc = grpc.protos_and_services("stytch/b2b/totp/v1/totp.proto")

ADDR = os.environ.get("ADDR", "127.0.0.1:50051")
WHO = {
    "organization_id": os.environ.get("ORGANIZATION", "example-works"),
    "member_id": os.environ.get("MEMBER", "fresh"),
}
DEADLINE = 5  # seconds, retries included

# Every call has an idempotency key, so gRPC may send it again whatever broke; the server's pushback stops or
# delays the retries that cannot help. Without keys, only reads may be retried: docs/retries.md.
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


def call(method, request):
    """Makes one call, however often gRPC has to send it."""
    key = ("idempotency-key", str(uuid.uuid4()))
    return method(request, timeout=DEADLINE, metadata=[key])


def details(error):
    """What a failed call says in a form for programs: the reason, `upstream`, and the fields at fault."""
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


def create(stub):
    """Registers a TOTP, in place of an active one if there is one."""
    try:
        return call(stub.Create, totp_pb2.CreateRequest(**WHO))
    except grpc.RpcError as error:
        reason, _, _ = details(error)
        if reason != "ACTIVE_TOTP_EXISTS":
            raise
        print("there is an active TOTP; removing it")
        call(stub.Delete, totp_pb2.DeleteRequest(**WHO))
        return call(stub.Create, totp_pb2.CreateRequest(**WHO))


def main():
    options = [("grpc.service_config", json.dumps(RETRIES))]
    with grpc.insecure_channel(ADDR, options=options) as channel:
        stub = totp_pb2_grpc.TotpServiceStub(channel)

        created = create(stub)
        picture = Path("qr.png")
        picture.write_bytes(base64.b64decode(created.qr_code.split(",", 1)[1]))
        print(f"scan {picture.resolve()}, or type {created.secret}")

        # Stands for the member's authenticator app.
        code = pyotp.TOTP(created.secret).now()
        # Stands for the intermediate session token that Stytch's login call answers with.
        login = f"sandbox-login.{WHO['member_id']}.{secrets.token_hex(8)}"
        session = call(
            stub.Authenticate,
            totp_pb2.AuthenticateRequest(
                **WHO, code=code, intermediate_session_token=login, set_mfa_enrollment="enroll"
            ),
        )
        print(f"logged in, until {session.member_session.expires_at.ToJsonString()}")

        try:
            call(
                stub.Authenticate,
                totp_pb2.AuthenticateRequest(
                    **WHO, code=code, session_token=session.session_token
                ),
            )
        except grpc.RpcError as error:
            reason, upstream, fields = details(error)
            print(f"the same code again: {error.code().name} {reason} {upstream} {fields}")


if __name__ == "__main__":
    main()
