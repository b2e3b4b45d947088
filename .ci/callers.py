#!/usr/bin/env python3
"""Checks the access control of docs/callers.md with other clients: grpcurl and gRPC's C core with client
certificates and tokens, and on a Unix domain socket, and an Envoy that forwards the certificates that it has verified,
by a port and by a socket. The policy and Envoy's settings are those of the document. Runs the commands that `dev`
prints too, with each kind of listener and access.

Takes its tools from PATH: a Python with examples/python/requirements.txt, cryptography and PyYAML; buf, grpcurl and
Envoy.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from ipaddress import ip_address
from pathlib import Path

import grpc
import yaml
from cryptography import x509

from authority import Authority
from envoy import envoy
from expect import PATIENCE, check
from facade import PORTS, PROGRAM, ROOT, facade
from process import first_lines, run, running
from stubs import totp, totp_grpc

LOGIN = x509.UniformResourceIdentifier("spiffe://example.org/ns/web/sa/login")
SUPPORT = x509.DNSName("support.internal")
LOCALHOST = x509.IPAddress(ip_address("127.0.0.1"))
NOBODY = x509.DNSName("nobody.internal")
CREATE = "stytch.b2b.totp.v1.TotpService/Create"
GET = "stytch.b2b.recovery_codes.v1.RecoveryCodesService/Get"


def block(language):
    text = (ROOT / "docs/callers.md").read_text()
    return re.search(rf"^```{language}\n(.*?)^```", text, re.M | re.S)[1]


def grpcurl(addr, ca, method, identity=None, token=None, contract=None):
    """The outcome of a call: OK or a code. Without a contract, grpcurl uses reflection."""
    command = ["grpcurl", "-cacert", ca, "-connect-timeout", PATIENCE]
    if contract:
        command += ["-protoset", contract]
    if identity:
        command += ["-cert", identity[0], "-key", identity[1]]
    if token:
        command += ["-expand-headers", "-H", "authorization: Bearer ${TOKEN}"]
    member = "enrolled" if method == GET else "fresh"
    ids = {"organization_id": "example-works", "member_id": member}
    command += ["-d", json.dumps(ids), addr, method]
    env = os.environ | ({"TOKEN": token} if token else {})
    done = subprocess.run(
        list(map(str, command)), text=True, capture_output=True, timeout=PATIENCE, env=env
    )
    code = re.search(r"^\s*Code: (\w+)$", done.stderr, re.M)
    if done.returncode != 0 and not code:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return code[1] if code else "OK"


def grpcio(addr, ca, identity=None, token=None, **headers):
    """The same with gRPC's C core."""
    certificate, key = (path.read_bytes() for path in identity) if identity else (None, None)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key, certificate)
    if token:
        bearer = grpc.access_token_call_credentials(token)
        credentials = grpc.composite_channel_credentials(credentials, bearer)
    metadata = [(name.replace("_", "-"), value) for name, value in headers.items()]
    with grpc.secure_channel(addr, credentials) as channel:
        request = totp.CreateRequest(organization_id="example-works", member_id="fresh")
        stub = totp_grpc.TotpServiceStub(channel)
        call = stub.Create.future(request, timeout=PATIENCE, metadata=metadata)
        return call.code().name if call.exception() else "OK"


def over_tls(folder, ours, theirs, policy):
    token, line = (it.split(": ")[1] for it in run(PROGRAM, "token", "login").splitlines()[:2])
    tokens = folder / "tokens"
    tokens.write_text(line + "\n")
    server = ours.certify("server", LOCALHOST)
    login, support = ours.certify("login", LOGIN), ours.certify("support", SUPPORT)
    nobody, stranger = ours.certify("nobody", NOBODY), theirs.certify("stranger", LOGIN)
    # grpcurl's own compiler is too old for this contract.
    contract = folder / "contract.binpb"
    subprocess.run(["buf", "build", "--output", contract], cwd=ROOT, check=True)
    flags = ["--tls-cert-file", server[0], "--tls-key-file", server[1]]
    flags += ["--tls-client-ca-file", ours.file, "--tokens-file", tokens, "--callers-file", policy]

    with facade("dev", *map(str, flags), "--log", "warn,audit=off", lines=3) as addrs:
        addr, ca = addrs["grpc"], ours.file
        for what, method, credentials, expected in [
            ("a certificate", CREATE, {"identity": login}, "OK"),
            ("a token", CREATE, {"token": token}, "OK"),
            ("nothing", CREATE, {}, "Unauthenticated"),
            ("a wrong token", CREATE, {"token": token[1:]}, "Unauthenticated"),
            ("a certificate of nobody", CREATE, {"identity": nobody}, "Unauthenticated"),
            # Go does not present a certificate that the server would not accept.
            ("one of another authority", CREATE, {"identity": stranger}, "Unauthenticated"),
            ("one who may not", CREATE, {"identity": support}, "PermissionDenied"),
            ("one who may", GET, {"identity": support}, "OK"),
        ]:
            found = grpcurl(addr, ca, method, contract=contract, **credentials)
            check(f"grpcurl with {what}", found, expected)
        found = grpcurl(addr, ca, GET, identity=support)
        check("grpcurl with one who may ask for the contract", found, "OK")
        for what, credentials, expected in [
            ("a certificate", {"identity": login}, "OK"),
            ("a token", {"token": token}, "OK"),
            ("nothing", {}, "UNAUTHENTICATED"),
            ("one who may not", {"identity": support}, "PERMISSION_DENIED"),
            ("one of another authority", {"identity": stranger}, "UNAVAILABLE"),
        ]:
            check(f"gRPC with {what}", grpcio(addr, ca, **credentials), expected)
        run(PROGRAM, "healthcheck", "--addr", f"https://{addr}", "--ca-file", ca)
        print("ok: healthcheck with nothing", flush=True)


def on_a_socket(folder, policy):
    """As docs/operations.md says of `:authority`."""
    path = folder / "callers.sock"
    policy.write_text(
        f"""caller = [{{ name = "me", identities = ["unix:{os.getuid()}"], methods = ["*", "reflection"] }}]"""
    )
    flags = ["--callers-file", str(policy), "--log", "warn,audit=off"]
    with facade("dev", *flags, grpc=f"unix:{path}", lines=3):
        for authority, expected in [("localhost", "OK"), (None, "INTERNAL")]:
            options = [("grpc.default_authority", authority)] if authority else []
            with grpc.insecure_channel(f"unix:{path}", options) as channel:
                request = totp.CreateRequest(organization_id="example-works", member_id="fresh")
                call = totp_grpc.TotpServiceStub(channel).Create.future(request, timeout=PATIENCE)
                found = call.code().name if call.exception() else "OK"
                check(f"gRPC on a socket with the authority {authority}", found, expected)
        command = ["grpcurl", "-plaintext", "-authority", "localhost", "-unix", path, "list"]
        listed = subprocess.run(command, text=True, capture_output=True, timeout=PATIENCE)
        check("grpcurl on a socket", CREATE.split("/")[0] in listed.stdout, True)


def printed_by_dev(folder, ours):
    """The commands that `dev` prints, in a shell, as docs/console.md says."""
    get = "RecoveryCodesService/Get"
    callers = {"login": ["TotpService/*"], "support": [get], "reader": [get, "reflection"]}
    policy, tokens = folder / "printed.toml", folder / "printed.tokens"
    policy.write_text(
        "".join(
            f"""[[caller]]\nname = "{name}"\nidentities = ["token:{name}"]\nmethods = {json.dumps(methods)}\n"""
            for name, methods in callers.items()
        )
    )
    made = {name: run(PROGRAM, "token", name).split() for name in callers}
    tokens.write_text("".join(f"{it[3]} {it[4]}\n" for it in made.values()))
    per_policy = ["--tokens-file", tokens, "--callers-file", policy]
    server, client = ours.certify("printed", LOCALHOST), ours.certify("printing", LOGIN)
    tls = ["--tls-cert-file", server[0], "--tls-key-file", server[1], "--ca-file", ours.file]
    alone = self_signed(folder)
    self_made = ["--tls-cert-file", alone[0], "--tls-key-file", alone[1]]
    mutual = [*tls, "--tls-client-ca-file", ours.file, "--cert-file", client[0], "--key-file", client[1]]
    for what, flags, caller, grpcurls in [
        ("plaintext", [], None, 1),
        ("no reflection", ["--reflection=false"], None, 1),
        ("a self-signed certificate", self_made, None, 1),
        ("TLS", tls, None, 1),
        ("mutual TLS", mutual, None, 1),
        ("tokens", per_policy[:2], "login", 1),
        ("a policy without Get", per_policy, "login", 0),
        ("a policy without reflection", per_policy, "support", 1),
        ("a policy without reflection, and TLS", [*self_made, *per_policy], "support", 1),
        ("a policy with reflection", per_policy, "reader", 1),
    ]:
        env = {"TOTP_FACADE_TOKEN": made[caller][1]} if caller else {}
        command = [PROGRAM, "dev", "--grpc-addr", "127.0.0.1:0", *PORTS, "--log", "warn,audit=off", *flags]
        with running(*command, text=True, stdout=subprocess.PIPE, env=os.environ | env) as dev:
            lines = iter(lambda: first_lines(dev, 1)[0], None)
            text = list(itertools.takewhile(lambda line: not line.startswith("Members of"), lines))
            commands = [line.strip() for line in text if line.startswith("  ")]
            for command in commands:
                run("sh", "-ec", command, cwd=folder, env=os.environ | env)
        found = sum(command.startswith("grpcurl ") for command in commands)
        check(f"grpcurl commands of dev that work with {what}", found, grpcurls)


def self_signed(folder):
    """A certificate that is its own authority; with its file and its key's."""
    files = folder / "alone.crt", folder / "alone.key"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    run(*request, "-subj", "/CN=localhost", *names, "-out", files[0], "-keyout", files[1])
    return files


def behind_envoy(folder, ours, policy):
    front = ours.certify("front", LOCALHOST)
    login, support = ours.certify("login", LOGIN), ours.certify("support", SUPPORT)
    file = lambda path: {"filename": str(path)}
    tls = {
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {"certificate_chain": file(front[0]), "private_key": file(front[1])}
            ],
            "validation_context": {"trusted_ca": file(ours.file)},
        }
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "totp-facade"}}]
    details = yaml.safe_load(block("yaml"))
    made_up = f"URI={LOGIN.value}"
    for what, trusted, credentials, expected in [
        ("a certificate", "127.0.0.1", {"identity": login}, "OK"),
        ("one who may not", "127.0.0.1", {"identity": support}, "PERMISSION_DENIED"),
        ("nothing", "127.0.0.1", {}, "UNAUTHENTICATED"),
        (
            "one who may not, and says otherwise",
            "127.0.0.1",
            {"identity": support, "x_forwarded_client_cert": made_up},
            "PERMISSION_DENIED",
        ),
        (
            "nothing, and says otherwise",
            "127.0.0.1",
            {"x_forwarded_client_cert": made_up},
            "UNAUTHENTICATED",
        ),
        ("a certificate, and is not listed", "10.0.0.1", {"identity": login}, "UNAUTHENTICATED"),
        ("a certificate, by a socket", f"unix:{os.getuid()}", {"identity": login}, "OK"),
        ("nothing, by a socket", f"unix:{os.getuid()}", {}, "UNAUTHENTICATED"),
    ]:
        flags = ["--trust-xfcc-from", trusted, "--callers-file", str(policy)]
        listen = f"unix:{folder}/envoy.sock" if trusted.startswith("unix:") else "127.0.0.1:0"
        with facade("dev", *flags, "--log", "warn,audit=off", grpc=listen, lines=3) as addrs:
            with envoy(addrs["grpc"], routes, details, tls) as addr:
                check(f"Envoy with {what}", grpcio(addr, ours.file, **credentials), expected)


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = Authority(folder, "ours"), Authority(folder, "theirs")
        policy = folder / "callers.toml"
        policy.write_text(block("toml"))
        over_tls(folder, ours, theirs, policy)
        behind_envoy(folder, ours, policy)
        on_a_socket(folder, policy)
        printed_by_dev(folder, ours)


main()
