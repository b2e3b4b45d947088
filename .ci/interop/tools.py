"""grpcurl, `buf curl` and k6, told what to do like a probe: a process for each call."""

import base64
import json
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

from google.protobuf import json_format
from google.rpc import error_details_pb2

from expect import PATIENCE
from facade import ROOT
from interop.client import NAMES, Outcome, address
from snippets.languages import ERRORS, GOOGLE
from snippets.tools import run

CREATE, HEALTH = "stytch.b2b.totp.v1.TotpService/Create", "grpc.health.v1.Health/Check"
HERE = Path(__file__).resolve().parent
# As they exit: grpcurl with 64 and the code, buf with 8 times the code.
GRPCURL, BUF = {64 + code: code for code in NAMES}, {8 * code: code for code in NAMES}


class Tool:
    # In milliseconds: of the call that has to end by it, within which it starts and learns the contract, and of others.
    deadline, usual = 3_000, 1_000 * PATIENCE

    def __init__(self, **connection):
        self.connection = connection

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def at(self, host_and_port):
        return type(self)(**self.connection | address(host_and_port))

    def create(self, member="fresh", key=None, milliseconds=None):
        start = time.monotonic()
        request = {"organization_id": "example-works", "member_id": member or ""}
        headers = {"idempotency-key": key or str(uuid.uuid4())}
        if token := self.connection.get("TOTP_FACADE_TOKEN"):
            headers["authorization"] = f"Bearer {token}"
        outcome = self.call(CREATE, request, headers, milliseconds or self.usual)
        outcome.seconds = time.monotonic() - start
        return outcome

    def health(self):
        self.call(HEALTH, {}, {}, self.usual)
        # By name, or by the number that health.proto leaves it.
        return re.search(r'"status": ?("SERVING"|1)\s*}', self.printed) is not None

    def execute(self, *command):
        command = list(map(str, command))
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE)
        self.printed = done.stdout
        return done

    @property
    def is_tls(self):
        return self.connection["TOTP_FACADE_ADDR"].startswith("https")

    @property
    def target(self):
        return self.connection["TOTP_FACADE_ADDR"].partition("://")[2]

    def flags(self, ca, certificate, key):
        """Those for TLS, which differ in their names."""
        names = {"CA": ca, "CLIENT_CERT": certificate, "CLIENT_KEY": key}
        files = {flag: self.connection.get(f"TOTP_FACADE_{name}_FILE") for name, flag in names.items()}
        return [word for flag, file in files.items() if file for word in (flag, file)]


class Grpcurl(Tool):
    def call(self, method, request, headers, milliseconds):
        command = ["grpcurl", "-v", "-format-error", "-max-time", str(milliseconds / 1000)]
        command += self.flags("-cacert", "-cert", "-key") if self.is_tls else ["-plaintext"]
        # Over TLS, `dev` asks for a token before it says what its contract is.
        command += ["-protoset", contract()] if self.is_tls else []
        command += [word for pair in headers.items() for word in ("-H", ": ".join(pair))]
        done = self.execute(*command, "-d", json.dumps(request), self.target, method)
        if done.returncode:
            return explained(GRPCURL, done)
        found = re.search(r"^idempotent-replayed: (\w+)$", done.stdout, re.M)
        return Outcome("OK", replayed=found[1] if found else "-")


class Buf(Tool):
    def call(self, method, request, headers, milliseconds):
        command = ["buf", "curl", "--verbose", "--protocol", "grpc", "--timeout", f"{milliseconds}ms"]
        command += self.flags("--cacert", "--cert", "--key")
        command += [] if self.is_tls else ["--http2-prior-knowledge"]
        command += ["--schema", "proto"] if self.is_tls else []
        command += [word for pair in headers.items() for word in ("-H", ": ".join(pair))]
        url = f"{self.connection['TOTP_FACADE_ADDR']}/{method}"
        done = self.execute(*command, "--data", json.dumps(request), url)
        if done.returncode:
            return explained(BUF, done)
        found = re.search(r"Idempotent-Replayed: (\w+)$", done.stderr, re.M)
        return Outcome("OK", replayed=found[1] if found else "-")


class K6(Tool):
    def call(self, method, request, headers, milliseconds):
        folder, file = ROOT / "proto", "stytch/b2b/totp/v1/totp.proto"
        if method == HEALTH:
            folder, file = HERE, "health.proto"
        settings = {
            "ADDR": self.target,
            "METHOD": method,
            "REQUEST": json.dumps(request),
            "METADATA": json.dumps(headers),
            "TIMEOUT": f"{milliseconds}ms",
            "FOLDER": folder,
            "FILE": file,
        }
        for name in ["CA", "CLIENT_CERT", "CLIENT_KEY"]:
            if pem := self.connection.get(f"TOTP_FACADE_{name}_FILE"):
                settings[name] = Path(pem).read_text()
        flags = ["--quiet", "--no-usage-report", "--no-summary", "--log-output=stdout", "--log-format=raw"]
        flags += [word for name, value in settings.items() for word in ("--env", f"{name}={value}")]
        done = self.execute("k6", "run", *flags, HERE / "one.js")
        if done.returncode or not done.stdout.startswith("{"):
            sys.exit(f"k6 ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        answer = json.loads(done.stdout)
        if answer["status"]:
            return with_details(answer["status"], answer["error"]["details"] or [])
        replayed = answer["headers"].get("idempotent-replayed", ["-"])
        return Outcome("OK", replayed=replayed[0])


def explained(codes, done):
    """What an error says that is printed as JSON among other lines."""
    if done.returncode not in codes:
        sys.exit(f"{done.args} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    start = re.search(r'^\{\n +"code"', done.stderr, re.M)
    error, _ = json.JSONDecoder().raw_decode(done.stderr, start.start()) if start else ({}, 0)
    return with_details(codes[done.returncode], error.get("details", []))


def with_details(code, details):
    result = Outcome(NAMES[code])
    for detail in details:
        # grpcurl and k6 print the contents; buf prints their bytes.
        kind = detail.get("@type", detail.get("type", "")).rpartition(".")[2]
        if kind not in ("ErrorInfo", "BadRequest"):
            continue
        message = getattr(error_details_pb2, kind)()
        if "value" in detail:
            message.ParseFromString(base64.b64decode(detail["value"] + "=="))
        else:
            json_format.ParseDict(detail, message, ignore_unknown_fields=True)
        if kind == "ErrorInfo":
            result.reason, result.upstream = message.reason, message.metadata["upstream"]
        else:
            result.fields = ",".join(it.field for it in message.field_violations)
    return result


def contract():
    """The contract for grpcurl, whose own compiler is too old for it, with the details of errors."""
    file = ROOT / "target/interop.binpb"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", f"-I{GOOGLE}", "--include_imports"]
    run(*protoc, f"--descriptor_set_out={file}", "stytch/b2b/totp/v1/totp.proto", *ERRORS)
    return file


TOOLS = {"grpcurl": Grpcurl, "buf curl": Buf, "k6": K6}
