"""A gRPC server that records the calls that it gets, and answers as it is told."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from snippets import contract

REQUEST_ID = "request-id-test-recorded"
# What every secret of a response is.
SECRET = "the-secret-of-a-response"


@dataclass
class Attempt:
    at: float
    method: str
    metadata: dict
    time_remaining: float
    request: bytes


class Recorder(grpc.GenericRpcHandler):
    """Listens on two ports, one of them with TLS, while the block runs."""

    def __init__(self, identity):
        self.attempts, self.failures, self.lock = [], [], threading.Lock()
        self.server = grpc.server(ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers([self])
        services = {name.split("/")[0] for name in contract.METHODS}
        reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], self.server)
        certificate, key = (path.read_bytes() for path in identity)
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        self.plain = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.tls = f"127.0.0.1:{self.server.add_secure_port('127.0.0.1:0', credentials)}"

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(grace=None)

    def fail(self, *failures):
        """Fails the next attempts."""
        self.failures = list(failures)

    def take(self):
        """The attempts since the last time."""
        with self.lock:
            attempts, self.attempts, self.failures = self.attempts, [], []
        return attempts

    def service(self, call):
        method = contract.METHODS.get(call.method.removeprefix("/"))
        if method is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.answer(method, request, context)
        )

    def answer(self, method, request, context):
        metadata = {item.key: item.value for item in context.invocation_metadata()}
        with self.lock:
            left = context.time_remaining()
            attempt = Attempt(time.monotonic(), method["name"], metadata, left, request)
            self.attempts.append(attempt)
            failure = self.failures.pop(0) if self.failures else None
        if failure:
            failure.end(context)
        return response(method["response"]).SerializeToString()


@dataclass
class Failure:
    """A status of the façade's. Without a reason, one of a proxy's or a library's."""

    code: grpc.StatusCode
    reason: str = ""
    upstream: str = ""
    pushback: int | None = None
    field: str = ""

    def end(self, context):
        if self.pushback is not None:
            context.set_trailing_metadata([("grpc-retry-pushback-ms", str(self.pushback))])
        if not self.reason:
            context.abort(self.code, "the message")
        status = status_pb2.Status(code=self.code.value[0], message="the message")
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain="stytch.com")
        info.metadata["upstream"] = self.upstream
        details = [info]
        if self.field:
            bad = error_details_pb2.BadRequest()
            bad.field_violations.add(field=self.field, description="the description")
            details.append(bad)
        for detail in details:
            any_of = any_pb2.Any()
            any_of.Pack(detail)
            status.details.append(any_of)
        context.abort_with_status(WithPushback(rpc_status.to_status(status), self.pushback))


class WithPushback(grpc.Status):
    """A status whose trailers have a pushback too."""

    def __init__(self, status, pushback):
        self.code, self.details = status.code, status.details
        self.trailing_metadata = tuple(status.trailing_metadata)
        if pushback is not None:
            self.trailing_metadata += (("grpc-retry-pushback-ms", str(pushback)),)


def response(name):
    """A response, with every text filled in."""
    message = contract.message_class(name)()
    for field in contract.MESSAGES[name]["fields"]:
        if field["type"] == "string":
            text = SECRET if field["secret"] else REQUEST_ID
            if field["repeated"]:
                getattr(message, field["name"]).append(text)
            else:
                setattr(message, field["name"], text)
    return message
