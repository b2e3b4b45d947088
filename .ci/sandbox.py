"""The sandbox in Stytch's place, for the scripts beside this one: how it answers, and what it is asked."""

import json
import urllib.request
from contextlib import contextmanager
from subprocess import DEVNULL, PIPE

from expect import PATIENCE
from facade import PROGRAM
from process import first_lines, running

# Paths, as rules name them.
CREATE = "/v1/b2b/totp"
GET, ROTATE = "/v1/b2b/recovery_codes/{organization_id}/{member_id}", "/v1/b2b/recovery_codes/rotate"


class Sandbox:
    """A sandbox that was started with --sandbox-control, alone or in a `dev`."""

    def __init__(self, addr):
        self.url = f"http://{addr}"
        # With these, a façade finds it.
        self.settings = {
            "STYTCH_PROJECT_ID": "project-test-00000000-0000-4000-8000-000000000000",
            "STYTCH_SECRET": "secret-test-sandbox-this-is-not-a-real-secret",
            "STYTCH_BASE_URL": self.url,
        }

    def rule(self, path, **fault):
        """Makes a path behave so, and counts its requests from now on."""
        self.rules({"path": path, "fault": fault})

    def rules(self, *rules):
        """Replaces all rules: see docs/sandbox.md."""
        self.ask("DELETE")
        for rule in rules:
            self.ask("POST", rule)

    def asked(self):
        """The number of requests since the one rule was set that it applies to."""
        (rule,) = self.ask("GET")
        return rule["met"]

    def ask(self, method, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/faults", data=data, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or "null")


@contextmanager
def sandbox():
    command = [PROGRAM, "sandbox", "--sandbox-addr", "127.0.0.1:0", "--sandbox-control"]
    with running(*command, text=True, stdout=PIPE, stderr=DEVNULL) as it:
        [line] = first_lines(it, 1)
        yield Sandbox(line.strip().removeprefix("sandbox listening on "))
