"""Enrols a member and logs in: totp-facade from Python.

    python -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python enrol.py

Runs against `totp-facade dev`, unless the environment says otherwise: ../README.md.
"""

import base64
import os
import secrets
from pathlib import Path

import grpc
import pyotp

from facade import call, connect, details, totp_pb2, totp_pb2_grpc

WHO = {
    "organization_id": os.environ.get("ORGANIZATION", "example-works"),
    "member_id": os.environ.get("MEMBER", "fresh"),
}


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
    with connect() as channel:
        stub = totp_pb2_grpc.TotpServiceStub(channel)

        created = create(stub)
        picture = Path("qr.png")
        picture.write_bytes(base64.b64decode(created.qr_code.split(",", 1)[1]))
        print(f"scan {picture}, or type {created.secret}")

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
