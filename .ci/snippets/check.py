"""What must hold for the snippets of every language."""

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from queue import Queue

import grpc
from cryptography import x509
from google.protobuf import json_format

from authority import Authority
from expect import PATIENCE
from facade import facade
from snippets import cases
from snippets.contract import METHODS, message_class
from snippets.languages import prepared
from snippets.recorder import SECRET, Failure, Recorder
from snippets.members import CALLS, CODES, TOTP, Member

# Those of the sandbox that can have a TOTP; one for each language that is checked at a time.
MEMBERS = ["fresh", "enrolled"]
LOCALHOST = x509.IPAddress(ip_address("127.0.0.1"))
AUTHENTICATE, CREATE, GET = f"{TOTP}/Authenticate", f"{TOTP}/Create", f"{CODES}/Get"
PUSHBACK = 300  # milliseconds: longer than a library waits on its own
EARLY = 5  # milliseconds: as coarse as the timers of libraries are
LATER = Failure(grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN", "not_sent", pushback=PUSHBACK)
SOON = Failure(grpc.StatusCode.UNAVAILABLE, "CIRCUIT_OPEN", "not_sent", pushback=10)
BROKEN = Failure(grpc.StatusCode.INTERNAL)
UNKNOWN = Failure(grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN", "unknown", pushback=-1)
INVALID = Failure(
    grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", "not_sent", field="member_id"
)


def check(names):
    """Checks languages, two at a time; with the number of expectations that were met."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority(folder, "authority")
        identity = authority.certify("localhost", LOCALHOST)
        dev = stack.enter_context(facade("dev", "--log", "warn,audit=off", lines=3))
        channel = stack.enter_context(grpc.insecure_channel(dev["grpc"]))
        members = Queue()
        for name in MEMBERS:
            members.put(Member(channel, name))

        def one(name):
            language, member = prepared(name), members.get()
            with Recorder(identity) as server:
                passed = Check(language, server, member, dev["grpc"]).everything(authority.file)
            members.put(member)
            return passed

        with ThreadPoolExecutor(len(MEMBERS)) as pool:
            # The slowest are last in the list.
            languages = [pool.submit(one, name) for name in reversed(names)]
            try:
                return sum(language.result() for language in as_completed(languages))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


class Check:
    """The checks of one language."""

    def __init__(self, language, server, member, dev):
        self.language, self.server, self.member, self.dev = language, server, member, dev
        self.passed = 0

    def everything(self, authority):
        self.drafts()
        snippets = self.snippets()
        cases.write(snippets)
        self.trusting = self.language.environment(authority)
        started = time.monotonic()
        commands = self.language.build({it.name: it.text for it in snippets})
        self.print(f"{len(commands)} snippets built in {time.monotonic() - started:.0f} s")
        self.commands = commands
        for it in snippets:
            kind = it.name.split("_")[0]
            {"full": self.arrives, "secure": self.arrives, "dev": self.at_dev}[kind](it)
        return self.passed

    def drafts(self):
        """A form that is not filled in yet, or wrongly, has a snippet too."""
        for request in cases.DRAFTS:
            drafts = [
                cases.snippet(self.language.name, "draft", method, request, "")
                for method in METHODS
            ]
            cases.write(drafts)
            for it in drafts:
                self.expect(it, not cases.NONSENSE.search(it.text), f"no nonsense:\n{it.text}")

    def snippets(self):
        """One of every method for the recorder and for `dev`, and one with TLS and a token."""
        name, server = self.language.name, self.server

        def full(prefix, method, address, **options):
            request, key = cases.full(method), cases.key(METHODS[method])
            return cases.snippet(name, prefix, method, request, address, key=key, **options)

        return [
            *(full("full", method, server.plain) for method in cases.methods_of(name)),
            full("secure", CREATE, server.tls, tls=True, token=True),
            *(
                cases.snippet(name, "dev", method, self.member.request(method), self.dev)
                for method in ([AUTHENTICATE] if self.language.is_compiled else CALLS)
            ),
        ]

    def arrives(self, snippet):
        """Every value arrives as it is, with the metadata."""
        self.expect(snippet, cases.TYPED not in snippet.text, "it holds no secret")
        done = self.run(snippet)
        attempts = self.server.take()
        self.succeeds(snippet, done)
        self.expect(snippet, len(attempts) == 1, f"one attempt arrives, not {len(attempts)}")
        self.same_request(snippet, attempts[0])
        self.metadata(snippet, attempts[0])
        if snippet.method["name"] in (CREATE, GET):
            self.fails(snippet, INVALID)
            self.fails(snippet, UNKNOWN)
            if self.language.is_program:
                self.retries(snippet)

    def same_request(self, snippet, attempt):
        of_type = message_class(snippet.method["request"])
        request = cases.with_secrets(snippet.method, snippet.options["request"])
        expected = json_format.ParseDict(request, of_type())
        found = of_type.FromString(attempt.request)
        self.expect(
            snippet,
            (attempt.method, found) == (snippet.method["name"], expected),
            f"the request arrives as it is:\n{found}\nbut it is\n{expected}",
        )

    def metadata(self, snippet, attempt):
        key, token = (attempt.metadata.get(it) for it in ["idempotency-key", "authorization"])
        if snippet.method["reads_only"]:
            self.expect(snippet, key is None, f"no key, but {key!r}")
        elif self.language.is_program:
            self.expect(snippet, len(key or "") >= 32, f"a key of its own, not {key!r}")
        else:
            self.expect(snippet, key == snippet.options["key"], f"the given key, not {key!r}")
        expected = f"Bearer {cases.TOKEN}" if snippet.options["token"] else None
        self.expect(snippet, token == expected, f"the authorization, not {token!r}")
        left = attempt.time_remaining
        self.expect(
            snippet, left and 0 < left <= cases.DEADLINE / 1000, f"the deadline, not {left}"
        )

    def fails(self, snippet, failure):
        """Once, and says why."""
        self.server.fail(failure)
        done = self.run(snippet)
        attempts = self.server.take()
        self.explains(snippet, done, failure.reason, failure.upstream)
        if failure.field:
            self.expect(snippet, failure.field in done.stderr, f"the field in {done.stderr}")
            self.expect(snippet, "the description" in done.stderr, f"what it is in {done.stderr}")
        self.expect(snippet, len(attempts) == 1, f"one attempt, not {len(attempts)}")

    def retries(self, snippet):
        """What may help is retried, after the pushback; with a key also what a library makes."""
        reads = snippet.method["reads_only"]
        for failures, expected in [
            ([LATER, SOON, SOON], 4),
            ([SOON] * 4, 4),
            ([BROKEN, BROKEN], 1 if reads else 3),
        ]:
            self.server.fail(*failures)
            done = self.run(snippet)
            attempts = self.server.take()
            self.expect(
                snippet, len(attempts) == expected, f"{expected} attempts, not {len(attempts)}"
            )
            is_success = expected > len(failures)
            self.expect(snippet, (done.returncode == 0) == is_success, f"its end: {done}")
            what_is_sent = {(it.request, it.metadata.get("idempotency-key")) for it in attempts}
            self.expect(snippet, len(what_is_sent) == 1, "the same is sent with the same key")
            if failures[0] is LATER:
                waited = (attempts[1].at - attempts[0].at) * 1000
                self.expect(snippet, waited >= PUSHBACK - EARLY, f"it waits, not {waited} ms")

    def at_dev(self, snippet):
        method = snippet.method["name"]
        self.member.before_success(method)
        self.succeeds(snippet, self.run(snippet, **self.member.environment()))
        self.member.before_failure(method)
        if not self.language.is_program:
            self.with_another_key(snippet)
        done = self.run(snippet, **self.member.environment())
        self.explains(snippet, done, CALLS[method][1], "rejected")

    def with_another_key(self, snippet):
        """With the same one, it would get the same response."""
        key = snippet.options["key"]
        if key:
            file = self.language.file(snippet.name)
            file.write_text(file.read_text().replace(key, f"{key}-again"))

    def run(self, snippet, **env):
        env = os.environ | self.trusting | cases.environment(snippet) | env
        return subprocess.run(
            list(map(str, self.commands[snippet.name])),
            cwd=self.language.folder,
            env=env,
            text=True,
            capture_output=True,
            timeout=PATIENCE,
        )

    def succeeds(self, snippet, done):
        self.expect(snippet, done.returncode == 0, f"it succeeds, not\n{done.stdout}{done.stderr}")
        self.expect(snippet, "request-id-test-" in done.stdout, f"the request id: {done.stdout}")
        if self.language.is_program:
            line = re.compile(rf"{snippet.title} succeeded: request-id-test-\S+\n")
            self.expect(snippet, line.fullmatch(done.stdout), f"this and no more: {done.stdout}")
            self.expect(snippet, SECRET not in done.stdout + done.stderr, "no secret of the response")

    def explains(self, snippet, done, reason, outcome):
        self.expect(snippet, done.returncode not in (0, None), f"it fails, not {done.stdout}")
        for word in [reason, outcome]:
            self.expect(snippet, word in done.stderr, f"{word} is in\n{done.stderr}")

    def expect(self, snippet, holds, what):
        if not holds:
            sys.exit(
                f"{self.language.name}, {snippet.name} ({self.language.file(snippet.name)}): {what}"
            )
        self.passed += 1

    def print(self, text):
        print(f"ok: {self.language.name}: {text}", flush=True)
