"""What a client must do, one function for each column of docs/interop.md."""

import re
import subprocess
import threading
import uuid

from backends import Proxy, dead
from expect import PATIENCE, wait_until
from interop.client import Client, address, environment
from sandbox import CREATE

LINES = [
    r"(there is an active TOTP; removing it)?",
    r"scan qr\.png, or type [A-Z2-7]{32}",
    r"logged in, until \d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.000)?Z",
    r"the same code again: (INVALID_ARGUMENT|InvalidArgument|code 3) "
    r"TOTP_CODE_ALREADY_AUTHENTICATED rejected \[.?code.?\]",
]


class Failed(Exception):
    pass


def expect(what, found, expected):
    if found != expected:
        raise Failed(f"{what}: {found}, but expected {expected}")


def enrol(program, **connection):
    """Runs the example: all that it prints must be as it should."""
    done = subprocess.run(
        program.enrol,
        cwd=program.folder,
        env=environment(program.env | connection),
        text=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    if not re.fullmatch(r"\n?".join(LINES), done.stdout.strip()):
        raise Failed(f"the example printed:\n{done.stdout}{done.stderr}")
    return "removing it" in done.stdout


def call(program, scene):
    """The example finds an active TOTP, removes it, and enrols the member again."""
    expect("an active TOTP is found", enrol(program, **address(scene.addr), MEMBER="enrolled"), True)


def tls(program, secure):
    """With the token it may call; without, it is refused, over TLS that it trusts."""
    enrol(program, **secure.trust, TOTP_FACADE_TOKEN=secure.token)
    with Client(program, **secure.trust) as client:
        refused(client)


def mtls(program, secure):
    enrol(program, **secure.trust, **secure.identity)


def refused(client):
    expect("a stranger", client.create().brief(), ("UNAUTHENTICATED", "CALLER_UNKNOWN", "not_sent"))


def call_of_tool(tool, scene):
    expect("a call", tool(**address(scene.addr)).create().code, "OK")


def tls_of_tool(tool, secure):
    expect("with a token", called(tool, secure, TOTP_FACADE_TOKEN=secure.token), True)
    refused(tool(**secure.trust))


def mtls_of_tool(tool, secure):
    expect("with a certificate", called(tool, secure, **secure.identity), True)


def called(tool, secure, **credentials):
    """Whether it reaches Stytch, where the member may have a TOTP by now."""
    return tool(**secure.trust, **credentials).create().reason in ("-", "ACTIVE_TOTP_EXISTS")


def rich_errors(client, scene):
    expect(
        "an active TOTP",
        client.create("enrolled").brief(),
        ("ALREADY_EXISTS", "ACTIVE_TOTP_EXISTS", "rejected"),
    )
    outcome = client.create(member=None)
    expect("no member", outcome.brief(), ("INVALID_ARGUMENT", "INVALID_REQUEST", "not_sent"))
    expect("the field", outcome.fields, "member_id")


def deadline(client, scene):
    """The call goes on without its caller, who gets its response by calling again."""
    limit = client.deadline
    # Less than the façade gives Stytch, which is 10 s, and so much longer than the deadline that a busy machine ends
    # the call before.
    latency = 2 * limit + 1_000
    scene.sandbox.rule(CREATE, latency=f"{latency}ms")
    key = str(uuid.uuid4())
    outcome = client.create(key=key, milliseconds=limit)
    expect("the code", outcome.code, "DEADLINE_EXCEEDED")
    # Neither before its time, nor with Stytch's answer.
    if not 0.9 * limit <= 1000 * outcome.seconds < latency:
        raise Failed(f"a deadline of {limit} ms took {outcome.seconds:.3f} s")
    again = client.create(key=key)
    expect("the next call", (again.code, again.replayed), ("OK", "true"))
    expect("calls of Stytch", scene.sandbox.asked(), 1)


def retries(client, scene):
    """As often as the policy says, not where pushback forbids it, and not before it allows it."""
    with dead() as (addr, log), client.at(addr) as other:
        outcome = other.create()
        expect("Stytch is away", (outcome.code, outcome.upstream), ("UNAVAILABLE", "not_sent"))
        expect("attempts while Stytch is away", log.calls("Create"), 4)

    before = scene.log.calls("Create")
    scene.sandbox.rule(CREATE, cut="before_answer")
    expect("an unknown outcome", client.create().brief(), ("UNKNOWN", "OUTCOME_UNKNOWN", "unknown"))
    expect("attempts with pushback -1", scene.log.calls("Create") - before, 1)
    expect("calls of Stytch", scene.sandbox.asked(), 1)

    limited = {"error_type": "too_many_requests", "retry_after": 1}
    scene.sandbox.rules({"path": CREATE, "calls": 1, "fault": limited})
    before = scene.log.calls("Create")
    outcome = client.create()
    expect("after a rate limit", outcome.code, "OK")
    expect("attempts", scene.log.calls("Create") - before, 2)
    if outcome.seconds < 0.99:
        raise Failed(f"told to wait for 1 s, it took {outcome.seconds:.3f} s")


def broken_connection(client, scene):
    """The connection is reset while Stytch works; the next attempt gets the response."""
    proxy = Proxy(scene.addr)
    with client.at(proxy.addr) as other:
        # Long enough to break it meanwhile.
        scene.sandbox.rule(CREATE, latency="3s")
        breaker = threading.Thread(target=break_when_asked, args=(proxy, scene.sandbox))
        breaker.start()
        outcome = other.create()
        breaker.join()
    expect("the call", (outcome.code, outcome.replayed), ("OK", "true"))
    expect("calls of Stytch", scene.sandbox.asked(), 1)
    scene.sandbox.rules()


def break_when_asked(proxy, sandbox):
    wait_until(lambda: sandbox.asked() == 1, "Stytch is asked")
    proxy.reset()


def replay(client, scene):
    scene.sandbox.rule(CREATE, latency="0s")
    key = str(uuid.uuid4())
    outcomes = [client.create(key=key) for _ in range(2)]
    expect("both", [(it.code, it.replayed) for it in outcomes], [("OK", "-"), ("OK", "true")])
    expect("calls of Stytch", scene.sandbox.asked(), 1)


def health(client, scene):
    expect("SERVING", client.health(), True)


def rolling_restart(outcomes, made, executed):
    """No call fails, and of all clients' calls none was executed twice."""
    expect("failed", [it.brief() for it in outcomes if it.code != "OK"], [])
    expect("calls of Stytch", executed, made)
