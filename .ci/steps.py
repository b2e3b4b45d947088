#!/usr/bin/env python3
"""Runs the recipes of the justfile that CI needs, some at a time, and prints the log of each when it ends.

    python3 .ci/steps.py               all of them
    python3 .ci/steps.py buf deny      these

Ends at the first that fails, whose log is then the last. Every process that a recipe has started, and that it left
behind, is killed at the end.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Each takes about a core. With more, nothing ends earlier.
AT_ONCE = 2
LOGS = Path("target/ci-logs")

# In the order in which they start, each with those that must have ended before. What compiles into target/debug is
# a chain, because cargo would let the others wait for its lock; all that start the façade come after it.
COMPILED = ["models"]
STEPS = {
    "format": [],
    "buf": [],
    "breaking": [],
    "deny": [],
    "workflows": [],
    "image": [],  # The longest to compile, in a folder of its own.
    "built": [],
    "lint": ["built"],
    "doc": ["lint"],
    "fuzz-check": ["doc"],
    "models": ["fuzz-check"],
    "console": COMPILED,
    "snippets": COMPILED,
    "observability": COMPILED,
    "commands": COMPILED,
    "helm": COMPILED,
    "interop": ["snippets"],  # They share stubs.
    "proxies": COMPILED,
    "rolling": COMPILED,
    "systemd": COMPILED,
    "contract": COMPILED,
    "mesh": COMPILED,
    "callers": COMPILED,
    "image-instructions": ["image"],
    "rehearsal": ["image", "helm"],  # It takes the program helm from there.
}
# It uses all cores, and some of its tests say how long something may take: beside others, these would fail.
STEPS["test"] = list(STEPS)


class Step:
    """A recipe that runs."""

    def __init__(self, name):
        self.name = name
        self.started = time.monotonic()
        self.log = LOGS / f"{name}.log"
        with open(self.log, "w") as log:
            # In a session of its own, so that it and its children can be ended together.
            self.process = subprocess.Popen(
                ["just", name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def has_ended(self):
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.took = time.monotonic() - self.started
        self.cpu = usage.ru_utime + usage.ru_stime
        return True

    def report(self):
        """Prints the log; with whether the recipe succeeded."""
        code = self.process.returncode
        outcome = "ok" if code == 0 else f"exit code {code}"
        print(f"\n=== {self.name}: {outcome} in {self.took:.0f} s, with {self.cpu:.0f} s of CPU", flush=True)
        sys.stdout.buffer.write(self.log.read_bytes())
        sys.stdout.flush()
        return code == 0


def main():
    adopt_orphans()
    LOGS.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, end)
    started = time.monotonic()
    try:
        names = sys.argv[1:] or list(STEPS)
        failed = run_all({name: set(STEPS[name]).intersection(names) for name in names})
    finally:
        end_children()
    if failed:
        sys.exit(f"\n=== {failed} failed")
    print(f"\n=== {len(names)} steps in {time.monotonic() - started:.0f} s")


def end(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit("terminated")


def run_all(waiting):
    """Runs all steps; with the name of the one that failed."""
    running, done = [], set()
    while waiting or running:
        ready = [name for name, after in waiting.items() if done.issuperset(after)]
        for name in ready[: AT_ONCE - len(running)]:
            del waiting[name]
            running.append(Step(name))
        time.sleep(0.2)
        for step in [step for step in running if step.has_ended()]:
            running.remove(step)
            done.add(step.name)
            if not step.report():
                return step.name
    return None


def adopt_orphans():
    """Makes this process the parent of processes whose parent has ended, so that it finds them."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def end_children():
    """Kills whatever still runs, until nothing does: who loses its parent becomes a child."""
    while children := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


main()
