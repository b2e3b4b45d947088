#!/usr/bin/env python3
"""Runs the README's console blocks as they are written, and compares what they print.

A block holds commands (after "$ ") and what each prints. In what is printed, "…" stands for anything,
and values that are new at each run (ids, secrets, codes, times, free ports) match any of their kind.
A command that ends in "-- dev" serves: it runs in the background until the end. A block with "cargo test"
is left to the caller, who prints it with --test.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 900  # seconds, for a build from scratch

KINDS = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"\b[A-Z2-7]{32}\b", "SECRET"),
    (r"\b[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}\b", "RECOVERY-CODE"),
    (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", "TIME"),
    (r"(sandbox listening on 127\.0\.0\.1):\d+", r"\1:PORT"),
]


def console_commands():
    """Yields each command of the README with what it prints."""
    blocks = re.findall(r"^```console\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    for block in blocks:
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            while command.endswith("\\"):
                more, _, output = output.partition("\n")
                command = command[:-1] + more.removeprefix("> ").strip()
            yield command, output


def by_kind(text):
    for pattern, kind in KINDS:
        text = re.sub(pattern, kind, text)
    return text


def matches(expected, printed):
    parts = [re.escape(part) for part in by_kind(expected.strip()).split("…")]
    return re.fullmatch(".*?".join(parts), by_kind(printed.strip()), re.S) is not None


def check(command, expected, printed):
    if not matches(expected, printed):
        sys.exit(f"$ {command}\nprinted:\n{printed}\nbut the README says:\n{expected}")
    print(f"ok: {command}", flush=True)


def serve(command, expected):
    """Starts a server and waits until it has printed as many lines as the README shows."""
    process = subprocess.Popen(
        command, shell=True, cwd=ROOT, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    giving_up = threading.Timer(PATIENCE, process.kill)
    giving_up.start()
    lines = len(expected.strip().splitlines())
    printed = "".join(process.stdout.readline() for _ in range(lines))
    giving_up.cancel()
    check(command, expected, printed)
    return process


def main():
    commands = list(console_commands())
    tests = [command for command, _ in commands if command.startswith("cargo test")]
    if sys.argv[1:] == ["--test"]:
        print("\n".join(tests))
        return
    servers = []
    try:
        for command, expected in commands:
            if command in tests:
                continue
            if command.endswith("-- dev"):
                servers.append(serve(command, expected))
                continue
            run = subprocess.run(
                command, shell=True, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE
            )
            build = re.compile(r"^ +(Compiling|Finished|Running|Blocking|Downloaded?|Updating|Locking) .*\n", re.M)
            check(command, expected, run.stdout + build.sub("", run.stderr))
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGINT)
            if server.wait(timeout=60) not in (0, -signal.SIGINT):
                sys.exit("the server did not end well")
    print(f"{len(commands) - len(tests)} commands of the README print what it says")


main()
