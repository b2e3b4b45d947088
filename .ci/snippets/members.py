"""The members of `dev`, brought into the state that a call needs."""

import uuid

import grpc
import pyotp

from expect import PATIENCE
from snippets.contract import METHODS, message_class

TOTP, CODES = "stytch.b2b.totp.v1.TotpService", "stytch.b2b.recovery_codes.v1.RecoveryCodesService"
ORGANIZATION = "example-works"

# Each method, its fields beside those of the member, and the reason why it fails the second time,
# or, for those that may be retried, without a TOTP.
CALLS = {
    f"{TOTP}/Create": ({"expiration_minutes": 60}, "ACTIVE_TOTP_EXISTS"),
    f"{TOTP}/Authenticate": (
        {
            "code": "",
            "intermediate_session_token": "",
            "session_duration_minutes": 60,
            "session_custom_claims": {"tier": "gold", "left": [1, None]},
            "set_mfa_enrollment": "enroll",
            "set_default_mfa": True,
        },
        "TOTP_CODE_ALREADY_AUTHENTICATED",
    ),
    f"{TOTP}/Migrate": ({"secret": "", "recovery_codes": []}, "ACTIVE_TOTP_EXISTS"),
    f"{TOTP}/Delete": ({}, "TOTP_NOT_FOUND"),
    f"{CODES}/Get": ({}, "RECOVERY_CODES_NOT_FOUND"),
    f"{CODES}/Rotate": ({}, "NO_ACTIVE_RECOVERY_CODE_BACKED_FACTOR"),
    f"{CODES}/Recover": (
        {"recovery_code": "", "intermediate_session_token": ""},
        "UNABLE_TO_AUTHENTICATE_RECOVERY_CODE",
    ),
}


class Member:
    """A member, and what the member knows."""

    def __init__(self, channel, name):
        self.channel, self.name = channel, name
        self.who = {"organization_id": ORGANIZATION, "member_id": name}
        self.secret, self.code = pyotp.random_base32(), "000000"
        self.codes = ["their-old-1", "their-old-2"]

    def request(self, method):
        return self.who | CALLS[method][0]

    def before_success(self, method):
        self.clear()
        if method not in (f"{TOTP}/Create", f"{TOTP}/Migrate"):
            self.enrol()

    def before_failure(self, method):
        if method in (f"{TOTP}/Delete", f"{CODES}/Get", f"{CODES}/Rotate"):
            self.clear()
        elif method == f"{TOTP}/Create":
            self.clear()
            self.enrol()

    def environment(self):
        return {
            "CODE": self.code,
            "INTERMEDIATE_SESSION_TOKEN": f"sandbox-login.{self.name}.{uuid.uuid4()}",
            "RECOVERY_CODE": self.codes[0],
            "RECOVERY_CODES": ",".join(self.codes),
            "SECRET": self.secret,
        }

    def enrol(self):
        self.secret = pyotp.random_base32()
        # The failure must have the same code as the success before it.
        self.code = pyotp.TOTP(self.secret).now()
        self.call(f"{TOTP}/Migrate", secret=self.secret, recovery_codes=self.codes)

    def clear(self):
        try:
            self.call(f"{TOTP}/Delete")
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise

    def call(self, name, **fields):
        method = METHODS[name]
        request, response = message_class(method["request"]), message_class(method["response"])
        call = self.channel.unary_unary(
            f"/{name}", request.SerializeToString, response.FromString
        )
        return call(request(**self.who, **fields), timeout=PATIENCE)
