"""gRPC's C core as a caller of a proxy."""

import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from expect import PATIENCE
from stubs import codes, codes_grpc, totp, totp_grpc

ORGANIZATION = {"organization_id": "example-works"}


class Outcome:
    """What a caller sees of a call."""

    def __init__(self, call):
        error = call.exception()
        self.code = call.code().name
        self.message = call.details()
        self.metadata = dict(call.initial_metadata() or ()) | dict(call.trailing_metadata() or ())
        self.response = None if error else call.result()
        self.info = {}
        status = rpc_status.from_call(call) if error else None
        self.details = [detail.type_url.split(".")[-1] for detail in status.details] if status else []
        for detail in status.details if status else []:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                self.info = {"reason": info.reason, **info.metadata}

    def facts(self):
        """The code, and the façade's word about the call; None if it is not the façade's error."""
        return self.code, self.info.get("upstream")


class Caller:
    """Calls one front, as one who has these credentials."""

    def __init__(self, front, authority=None, identity=None, token=None):
        self.token = token
        # Otherwise channels to one address share a connection.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        if front.how == "plain":
            self.channel = grpc.insecure_channel(front.addr, options)
        else:
            certificate, key = (path.read_bytes() for path in identity) if identity else (None, None)
            credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), key, certificate)
            self.channel = grpc.secure_channel(front.addr, credentials, options)
        self.totp = totp_grpc.TotpServiceStub(self.channel)
        self.codes = codes_grpc.RecoveryCodesServiceStub(self.channel)

    def start(self, method, request, timeout=PATIENCE, key=None, **headers):
        metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
        metadata += [("idempotency-key", key)] if key else []
        metadata += [("authorization", f"Bearer {self.token}")] if self.token else []
        return method.future(request, timeout=timeout, metadata=metadata)

    def call(self, *arguments, **options):
        return Outcome(self.start(*arguments, **options))

    def create(self, member, **options):
        return self.call(self.totp.Create, totp.CreateRequest(member_id=member, **ORGANIZATION), **options)

    def get(self, member="enrolled", **options):
        return self.call(self.codes.Get, codes.GetRequest(member_id=member, **ORGANIZATION), **options)

    def rotate(self, member="enrolled", **options):
        return self.call(self.codes.Rotate, codes.RotateRequest(member_id=member, **ORGANIZATION), **options)

    def starts_rotate(self, member="enrolled", **options):
        """The call, while it is in flight."""
        return self.start(self.codes.Rotate, codes.RotateRequest(member_id=member, **ORGANIZATION), **options)

    def starts_get(self, member="enrolled", **options):
        return self.start(self.codes.Get, codes.GetRequest(member_id=member, **ORGANIZATION), **options)


def new_key():
    return str(uuid.uuid4())
