"""Enrols a member and logs in: totp-facade from Python.

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python enrol.py

Runs against `totp-facade dev`, unless ADDR, ORGANIZATION and MEMBER in the environment say
otherwise.
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

# Generates the classes at run time; a real service would do that in a build step.
sys.path.append(str(Path(__file__).resolve().parents[2] / "proto"))
totp_pb2, totp_pb2_grpc = grpc.protos_and_services("stytch/b2b/totp/v1/totp.proto")

ADDR = os.environ.get("ADDR", "127.0.0.1:50051")
WHO = {
    "organization_id": os.environ.get("ORGANIZATION", "example-works"),
    "member_id": os.environ.get("MEMBER", "fresh"),
}
DEADLINE = 5  # seconds, retries included

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


def call(method, request):
    """Makes one call. All its attempts carry the same idempotency key."""
    key = ("idempotency-key", str(uuid.uuid4()))
    return method(request, timeout=DEADLINE, metadata=[key])


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


def create(stub):
    """Registers a TOTP. Replaces an active one."""
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

        # In place of the member's authenticator app.
        code = pyotp.TOTP(created.secret).now()
        # In place of the intermediate session token that a login with Stytch returns.
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
