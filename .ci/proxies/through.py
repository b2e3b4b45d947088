"""What has to come through a proxy as if it were not there."""

import pyotp

from expect import check_all
from proxies.client import ORGANIZATION, Caller, new_key
from proxies.fronts import Front
from stubs import codes, totp

FRESH = {"member_id": "fresh"} | ORGANIZATION
# What the owner of another certificate says about itself.
FORGED = {"x_forwarded_client_cert": "URI=spiffe://example.org/ns/web/sa/login"}


def everything(name, caller):
    refused = caller.create("nobody")
    invalid = caller.call(caller.totp.Create, totp.CreateRequest(**FRESH, expiration_minutes=2))
    failed, late = caller.create("internal-error"), too_late(caller)
    key = new_key()
    first, second = (caller.rotate(key=key) for _ in range(2))
    found = {
        "every method": every_method(caller),
        "an error of Stytch's": (*refused.facts(), refused.info.get("reason")),
        "its details": refused.details,
        "an error of the façade's": (*invalid.facts(), invalid.info.get("reason")),
        "an unknown outcome and its pushback": (*failed.facts(), failed.metadata.get("grpc-retry-pushback-ms")),
        "a deadline": (*late.facts(), late.info.get("reason")),
        # A JWT may have 12 KiB.
        "14 KB of metadata": caller.get(x_filling="x" * 14_000).code,
        "a replay": (second.metadata.get("idempotent-replayed"), first.response == second.response),
    }
    check_all(name, found, {
        "every method": ["OK"] * 8,
        "an error of Stytch's": ("NOT_FOUND", "rejected", "MEMBER_NOT_FOUND"),
        "its details": ["ErrorInfo", "RequestInfo", "ResourceInfo", "Help"],
        "an error of the façade's": ("INVALID_ARGUMENT", "not_sent", "INVALID_REQUEST"),
        "an unknown outcome and its pushback": ("UNKNOWN", "unknown", "-1"),
        "a deadline": ("DEADLINE_EXCEEDED", "unknown", "DEADLINE_EXCEEDED"),
        "14 KB of metadata": "OK",
        "a replay": ("true", True),
    })


def too_late(caller):
    """The façade answers 20 ms before time runs out, so it knows the deadline. On a busy machine the caller may be
    faster, but not each time."""
    for _ in range(100):
        outcome = caller.create("slow", timeout=0.5)
        if outcome.info:
            break
    return outcome


def every_method(caller):
    """The codes of a member's life: each method, with the results of those before."""
    done = []

    def call(method, request, **fields):
        outcome = caller.call(method, request(**FRESH, **fields))
        done.append(outcome.code)
        return outcome.response

    def proof():
        return {"intermediate_session_token": f"sandbox-login.fresh.{new_key()}"}

    created = call(caller.totp.Create, totp.CreateRequest)
    code = pyotp.TOTP(created.secret).now()
    call(caller.totp.Authenticate, totp.AuthenticateRequest, code=code, **proof())
    call(caller.codes.Get, codes.GetRequest)
    rotated = call(caller.codes.Rotate, codes.RotateRequest)
    call(caller.codes.Recover, codes.RecoverRequest, recovery_code=rotated.recovery_codes[0], **proof())
    call(caller.totp.Delete, totp.DeleteRequest)
    call(caller.totp.Migrate, totp.MigrateRequest, secret=created.secret, recovery_codes=["one", "two"])
    call(caller.totp.Delete, totp.DeleteRequest)
    return done


def authorization(name, login, support):
    """The policy applies to the caller behind the proxy, whatever the caller says about itself."""
    found = {
        "one who may": login.rotate().code,
        "one who may only read": (support.get().code, support.rotate().code),
        "one who claims to be another": support.rotate(**FORGED).code,
    }
    check_all(name, found, {
        "one who may": "OK",
        "one who may only read": ("OK", "PERMISSION_DENIED"),
        "one who claims to be another": "PERMISSION_DENIED",
    })


def nobody(name, caller):
    found = {"nobody": caller.get().code, "nobody who claims to be somebody": caller.get(**FORGED).code}
    check_all(name, found, dict.fromkeys(found, "UNAUTHENTICATED"))


def nothing_else(name, caller):
    """At an edge, health and reflection are not to be had."""
    methods = ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/"]
    found = {method: caller.call(caller.channel.unary_unary(method), b"").facts() for method in methods}
    check_all(f"{name} does not have", found, dict.fromkeys(methods, ("UNIMPLEMENTED", None)))


def authority_of_several_addresses(replicas, envoys):
    """gRPC's C core makes an `:authority` of them that the façade's HTTP/2 refuses, unless a proxy sets another one."""
    found = {}
    for what, upstreams in [("at the façade", replicas), ("behind Envoy", envoys)]:
        target = "ipv4:" + ",".join(f"127.0.0.1:{upstream.port}" for upstream in upstreams)
        found[what] = Caller(Front("several addresses", target, "plain")).get().facts()
    check_all("several addresses", found, {"at the façade": ("INTERNAL", None), "behind Envoy": ("OK", None)})
