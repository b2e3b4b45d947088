#!/usr/bin/env python3
"""Runs the retry policies of docs/retries.md where they belong: the service configs in gRPC, the routes in
Envoy. Connections break, outcomes are unknown, Stytch is unreachable; the script counts the calls that reach the façade
and Stytch.

Takes its tools from PATH: a Python with examples/python/requirements.txt and PyYAML, and Envoy.
"""

import re

import grpc
import yaml

from backends import Proxy, alive, dead
from envoy import envoy
from expect import PATIENCE, check, wait_until
from facade import ROOT
from proxies.client import Outcome, new_key
from sandbox import CREATE
from stubs import codes, codes_grpc, totp, totp_grpc


def blocks(language):
    text = (ROOT / "docs/retries.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


class Client:
    def __init__(self, addr, config=None):
        options = [("grpc.service_config", config)] if config else [("grpc.enable_retries", 0)]
        self.channel = grpc.insecure_channel(addr, options=options)
        grpc.channel_ready_future(self.channel).result(timeout=PATIENCE)

    def create(self, key=None):
        metadata = [("idempotency-key", key)] if key else []
        request = totp.CreateRequest(organization_id="example-works", member_id="fresh")
        stub = totp_grpc.TotpServiceStub(self.channel)
        return stub.Create.future(request, timeout=PATIENCE, metadata=metadata)

    def get(self):
        request = codes.GetRequest(organization_id="example-works", member_id="enrolled")
        stub = codes_grpc.RecoveryCodesServiceStub(self.channel)
        return stub.Get.future(request, timeout=PATIENCE)


def replayed(call):
    return ("idempotent-replayed", "true") in call.initial_metadata()


def break_the_connection(client, key, proxy, sandbox):
    """A call whose connection breaks after the request reached Stytch."""
    # Long enough to break it meanwhile, and shorter than what Envoy gives an attempt, which is 5 s.
    sandbox.rule(CREATE, latency="3s")
    call = client.create(key)
    wait_until(lambda: sandbox.asked() == 1, "Stytch is asked")
    proxy.reset()
    return call


def service_configs():
    reads_only, with_keys = blocks("json")

    with dead() as (addr, log):
        client = Client(addr, reads_only)
        # What is known about the last of four attempts does not hold for the first.
        check("gRPC, Stytch away, a read", Outcome(client.get()).facts(), ("UNAVAILABLE", "unknown"))
        check("  attempts", log.calls("Get"), 4)
        check("gRPC, Stytch away, no key", Outcome(client.create()).facts(), ("UNAVAILABLE", "not_sent"))
        check("  attempts", log.calls("Create"), 1)
    with dead() as (addr, log):
        call = Client(addr, with_keys).create(new_key())
        check("gRPC, Stytch away, a key", Outcome(call).facts(), ("UNAVAILABLE", "not_sent"))
        check("  attempts", log.calls("Create"), 4)

    with alive() as (addr, log, sandbox):
        proxy = Proxy(addr)
        call = break_the_connection(Client(proxy.addr, reads_only), None, proxy, sandbox)
        check("gRPC, a broken connection, no key", Outcome(call).facts(), ("UNAVAILABLE", None))
        wait_until(lambda: log.calls("Create") == 1, "the call ends")
        check("  attempts, executions", (log.calls("Create"), sandbox.asked()), (1, 1))

        call = break_the_connection(Client(proxy.addr, with_keys), new_key(), proxy, sandbox)
        check("gRPC, a broken connection, a key", Outcome(call).facts(), ("OK", None))
        check("  replayed", replayed(call), True)
        wait_until(lambda: log.calls("Create") == 3, "both attempts end")
        check("  executions", sandbox.asked(), 1)

        sandbox.rule(CREATE, cut="before_answer")
        call = Client(addr, with_keys).create(new_key())
        check("gRPC, an unknown outcome, a key", Outcome(call).facts(), ("UNKNOWN", "unknown"))
        check("  attempts, executions", (log.calls("Create") - 3, sandbox.asked()), (1, 1))


def mesh(upstream):
    """An Envoy with the routes of the document."""
    (routes,) = blocks("yaml")
    return envoy(upstream, yaml.safe_load(routes))


def meshes():
    for key, attempts in [(None, 3), (new_key(), 4)]:
        which = "a key" if key else "no key"
        with dead() as (addr, log), mesh(addr) as front:
            call = Client(front).create(key)
            check(f"Envoy, Stytch away, {which}", Outcome(call).facts(), ("UNAVAILABLE", "not_sent"))
            check("  attempts", log.calls("Create"), attempts)

        with alive() as (addr, log, sandbox), mesh(addr) as front:
            sandbox.rule(CREATE, cut="before_answer")
            call = Client(front).create(key)
            check(f"Envoy, an unknown outcome, {which}", Outcome(call).facts(), ("UNKNOWN", "unknown"))
            check("  attempts, executions", (log.calls("Create"), sandbox.asked()), (1, 1))

    with alive() as (addr, log, sandbox):
        proxy = Proxy(addr)
        with mesh(proxy.addr) as front:
            call = break_the_connection(Client(front), None, proxy, sandbox)
            check("Envoy, a broken connection, no key", Outcome(call).facts(), ("UNAVAILABLE", None))
            wait_until(lambda: log.calls("Create") == 1, "the call ends")
            check("  attempts, executions", (log.calls("Create"), sandbox.asked()), (1, 1))

            call = break_the_connection(Client(front), new_key(), proxy, sandbox)
            check("Envoy, a broken connection, a key", Outcome(call).facts(), ("OK", None))
            check("  replayed", replayed(call), True)
            wait_until(lambda: log.calls("Create") == 3, "both attempts end")
            check("  executions", sandbox.asked(), 1)

            # Longer than the timeout of one attempt.
            sandbox.rule(CREATE, latency="6s")
            call = Client(front).create(new_key())
            check("Envoy, a slow Stytch, a key", Outcome(call).facts(), ("OK", None))
            check("  replayed, executions", (replayed(call), sandbox.asked()), (True, 1))


def main():
    service_configs()
    meshes()


main()
