"""What is to be had at the edge beside gRPC: JSON, and gRPC-Web for browsers of some origins."""

import base64
import http.client
import json
import os
import re
import ssl
import struct
import subprocess
from pathlib import Path

from envoy import ENVOY
from expect import PATIENCE, check
from facade import PROGRAM, ROOT
from process import free_port, process, wait_until_listening
from proxies.client import ORGANIZATION
from stubs import codes

WEB = Path(__file__).parent / "web"
GET = "/stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get"
ROTATE = "/stytch.b2b.recovery_codes.v1.RecoveryCodesService/Rotate"
CREATE = "/stytch.b2b.totp.v1.TotpService/Create"
PAGE, STRANGER = "https://support.example.org", "https://evil.example.org"
# What web/call.js does, and what it is to see: code, reason, `upstream` and pushback.
CONNECT_WEB = {
    "a replay": True,
    "a refusal": [5, "MEMBER_NOT_FOUND", "rejected", None],
    "an unknown outcome": [2, "OUTCOME_UNKNOWN", "unknown", "-1"],
    "a deadline": [4, "DEADLINE_EXCEEDED", "unknown", "-1"],
    "no token": [16, "CALLER_UNKNOWN", "not_sent", None],
}
ENROLLED = ORGANIZATION | {"member_id": "enrolled"}


class Http:
    """HTTP/1.1 at the edge, as one with the token `login`."""

    def __init__(self, front, authority):
        self.front, self.tls = front, ssl.create_default_context(cafile=authority.file)

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPSConnection(self.front.addr, timeout=PATIENCE, context=self.tls)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"authorization": "Bearer login"} | headers)
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def json(self, path, request, **headers):
        body = request if isinstance(request, str) else json.dumps(request)
        return self.ask("POST", path, body, content_type="application/json", **headers)


def as_json(http):
    status, _, body = http.json(GET, ENROLLED)
    check("JSON: a call", (status, bool(json.loads(body)["recovery_codes"])), (200, True))
    replies = [http.json(ROTATE, ENROLLED, idempotency_key="json-1") for _ in range(2)]
    check("JSON: a replay", (replies[1][1].get("idempotent-replayed"), replies[0][2] == replies[1][2]), ("true", True))
    for what, member, expected in [
        ("a refusal", "nobody", (404, 5, "MEMBER_NOT_FOUND", "rejected", None)),
        ("a locked member", "locked", (429, 8, "USER_LOCK_LIMIT_REACHED", "rejected", "-1")),
        ("an unknown outcome", "internal-error", (500, 2, "OUTCOME_UNKNOWN", "unknown", "-1")),
    ]:
        status, headers, body = http.json(CREATE, ORGANIZATION | {"member_id": member})
        error = json.loads(body)
        (info,) = (it for it in error["details"] if it["@type"].endswith("/google.rpc.ErrorInfo"))
        pushback = headers.get("grpc-retry-pushback-ms")
        found = status, error["code"], info["reason"], info["metadata"]["upstream"], pushback
        check(f"JSON: {what}", found, expected)
    for what, path, request, expected in [
        ("not JSON", CREATE, "{", 400),
        ("a query parameter that does not exist", f"{CREATE}?x=1", ENROLLED, 400),
        ("a method that does not exist", "/stytch.b2b.totp.v1.TotpService/Nope", {}, 404),
        ("health", "/grpc.health.v1.Health/Check", {}, 404),
        ("a path with an escaped slash", "/stytch.b2b.totp.v1.TotpService%2FCreate", ENROLLED, 400),
    ]:
        refused_by_envoy(f"JSON: {what}", http.json(path, request), expected)
    refused_by_envoy("JSON: GET", http.ask("GET", CREATE), 404)
    check("JSON: more than 16 KiB", http.json(CREATE, {"member_id": "x" * 70_000})[0], 400)


def refused_by_envoy(what, answer, expected):
    """An error that is none of the façade's is text, if it says anything."""
    status, headers, _ = answer
    check(what, (status, headers.get("content-type", "text/plain")), (expected, "text/plain"))


def as_documented(addr, authority):
    """The command of docs/proxies.md."""
    page = (ROOT / "docs/proxies.md").read_text()
    (command,) = re.findall(r"^```sh\n(curl .*?)^```", page, re.M | re.S)
    (printed,) = re.findall(r"^```json\n(.*?), …]}\n```", page, re.M | re.S)
    command = command.replace("totp-facade.example.org", addr)
    env = os.environ | {"TOKEN": "login", "CURL_CA_BUNDLE": str(authority)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    done = subprocess.run(["bash", "-c", command], check=True, text=True, env=env, **pipes)
    found, expected = json.loads(done.stdout), json.loads(printed + "]}")
    check("JSON: the command of the page", found | {"details": found["details"][:1]}, expected)


def on_one_machine(folder):
    """The recipe of docs/proxies.md, on ports that are free."""
    page = (ROOT / "docs/proxies.md").read_text()
    (recipe,) = re.findall(r"^```sh\n(mkdir .*?)^```", page, re.M | re.S)
    port, admin, facade = free_port(), free_port(), free_port()
    ports = f"s|8443|{port}|; s|9903|{admin}|; s|port_value: 50051|port_value: {facade}|"
    for old, new in [
        ("target/edge", str(folder)),
        ("../..", str(ROOT)),
        ('|127.0.0.1|"', f'|127.0.0.1|; {ports}"'),
        ("\nenvoy ", f"\n{' '.join(ENVOY)} "),
    ]:
        check(f"the recipe has {old.strip()!r}", old in recipe, True)
        recipe = recipe.replace(old, new)
    env = os.environ | {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
                        "TOTP_FACADE_GRPC_ADDR": f"127.0.0.1:{facade}", "TOTP_FACADE_ADMIN_ADDR": "127.0.0.1:0"}
    log = folder.with_suffix(".log")
    with process(port, "bash", "-ec", recipe, log=log, env=env, cwd=ROOT) as shell:
        wait_until_listening(shell, facade, log)
        as_documented(f"localhost:{port}", folder / "ca.crt")


def frames(body):
    """The trailers of a gRPC-Web response, and its messages."""
    trailers, messages = {}, []
    while body:
        kind, length = struct.unpack(">BI", body[:5])
        part, body = body[5 : 5 + length], body[5 + length :]
        if kind & 0x80:
            trailers = dict(line.split(":", 1) for line in part.decode().strip().split("\r\n"))
        else:
            messages.append(part)
    return trailers, messages


def decoded(text):
    """Base64 that ends, and is padded, with each part of the body."""
    return b"".join(base64.b64decode(text[at : at + 4]) for at in range(0, len(text), 4))


def as_grpc_web(http):
    """In both encodings, by hand."""
    message = codes.GetRequest(**ENROLLED).SerializeToString()
    frame = struct.pack(">BI", 0, len(message)) + message
    for kind, encode, decode in [
        ("application/grpc-web+proto", bytes, bytes),
        ("application/grpc-web-text+proto", base64.b64encode, decoded),
    ]:
        status, headers, body = http.ask("POST", GET, encode(frame), content_type=kind, accept=kind, x_grpc_web="1",
                                     origin=PAGE)
        trailers, messages = frames(decode(body))
        found = status, headers["content-type"], trailers["grpc-status"], len(messages)
        check(f"gRPC-Web: {kind}", found, (200, kind, "0", 1))
        check("  read by", headers.get("access-control-allow-origin"), PAGE)


def cross_origin(http):
    """A page of an origin that is listed may send what the clients send; a stranger's page may not."""
    wanted = "authorization,connect-protocol-version,content-type,grpc-timeout,idempotency-key,x-grpc-web,x-user-agent"
    preflight = {"access_control_request_method": "POST", "access_control_request_headers": wanted}
    status, headers, _ = http.ask("OPTIONS", CREATE, origin=PAGE, **preflight)
    allowed = {name.removeprefix("access-control-"): value for name, value in headers.items() if "access" in name}
    check("CORS: a page", (status, allowed["allow-origin"], allowed["allow-methods"]), (200, PAGE, "POST"))
    check("  may send", set(wanted.split(",")) - set(allowed["allow-headers"].split(",")), set())
    check("  with cookies", allowed.get("allow-credentials"), None)
    _, headers, _ = http.ask("OPTIONS", CREATE, origin=STRANGER, **preflight)
    check("CORS: a stranger", [name for name in headers if name.startswith("access-control")], [])
    _, headers, _ = http.json(GET, ENROLLED, origin=STRANGER)
    check("  reads", headers.get("access-control-allow-origin"), None)


def connect_web(front, authority, contract):
    """With the client that browsers use."""
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(npm, cwd=WEB, check=True)
    node = ["node", "call.js", f"https://{front.addr}", contract]
    env = os.environ | {"NODE_EXTRA_CA_CERTS": str(authority.file)}
    done = subprocess.run(node, cwd=WEB, check=True, stdout=subprocess.PIPE, env=env, timeout=PATIENCE)
    for what, found in json.loads(done.stdout).items():
        check(f"connect-web: {what}", found, CONNECT_WEB[what])
