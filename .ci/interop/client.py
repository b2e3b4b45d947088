"""A client in some language, which makes calls as it is told: a word for each value, a line for each call.

    create MEMBER KEY MILLISECONDS    CODE REASON UPSTREAM FIELDS REPLAYED
    health                            STATUS

A member or a value that is missing is a dash. Codes and statuses are numbers.
"""

import os
import sys
import time
import uuid
from dataclasses import dataclass
from subprocess import PIPE

from grpc import StatusCode

from expect import PATIENCE
from process import start

NAMES = {code.value[0]: code.name for code in StatusCode}


@dataclass
class Outcome:
    code: str
    reason: str = "-"
    upstream: str = "-"
    fields: str = "-"
    replayed: str = "-"
    seconds: float = 0.0

    def brief(self):
        return self.code, self.reason, self.upstream


class Client:
    """A program's probe, which has one channel while the block runs."""

    # In milliseconds: of the call that has to end by it, and of all others.
    deadline, usual = 1_000, 1_000 * PATIENCE

    def __init__(self, program, **connection):
        self.program, self.connection = program, connection

    def __enter__(self):
        env = environment(self.program.env | self.connection)
        self.process = start(*self.program.probe, cwd=self.program.folder, env=env, text=True, stdin=PIPE, stdout=PIPE)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        if self.process.wait(timeout=PATIENCE) != 0:
            sys.exit(f"{self.program.probe} ended with {self.process.returncode}")

    def at(self, host_and_port):
        """The same at another address."""
        return type(self)(self.program, **self.connection | address(host_and_port))

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().split()
        if not answer:
            sys.exit(f"{self.program.probe} does not answer {words}")
        return answer

    def create(self, member="fresh", key=None, milliseconds=None):
        start = time.monotonic()
        words = member or "-", key or str(uuid.uuid4()), milliseconds or self.usual
        code, *rest = self.ask("create", *words)
        return Outcome(NAMES[int(code)], *rest, seconds=time.monotonic() - start)

    def health(self):
        return self.ask("health") == ["1"]


def environment(connection):
    """This process's, with a connection and without what another one needs."""
    inherited = {name: it for name, it in os.environ.items() if not name.startswith("TOTP_FACADE_")}
    return inherited | connection


def address(host_and_port, scheme="http"):
    return {"TOTP_FACADE_ADDR": f"{scheme}://{host_and_port}"}
