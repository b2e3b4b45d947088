#!/usr/bin/env python3
"""Runs the console blocks of the README, docs/settings.md and docs/operations.md, and compares what they print.

A block holds commands (after "$ ") and the output of each. In the output, "…" matches anything, and values that
differ at each run (ids, secrets, codes, times, free ports) match any value of their kind. A command that ends in
"-- dev" is a server: it runs in the background until the end. "cargo test" is left to the caller, who prints it with
--test.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The first one starts the server that the others call.
PAGES = ["README.md", "docs/settings.md", "docs/operations.md"]
PATIENCE = 900  # seconds, for a build from scratch

KINDS = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"\b[A-Z2-7]{32}\b", "SECRET"),
    (r"\b[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}\b", "RECOVERY-CODE"),
    (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", "TIME"),
    (r"(sandbox listening on 127\.0\.0\.1):\d+", r"\1:PORT"),
    (r"(console listening on http://127\.0\.0\.1):\d+", r"\1:PORT"),
]


def console_commands():
    """Yields each command with its page and its output."""
    for page in PAGES:
        blocks = re.findall(r"^```console\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
        for block in blocks:
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, _, output = part.partition("\n")
                while command.endswith("\\"):
                    more, _, output = output.partition("\n")
                    command = command[:-1] + more.removeprefix("> ").strip()
                yield page, command, output


def by_kind(text):
    for pattern, kind in KINDS:
        text = re.sub(pattern, kind, text)
    return text


def matches(expected, printed):
    parts = [re.escape(part) for part in by_kind(expected.strip()).split("…")]
    return re.fullmatch(".*?".join(parts), by_kind(printed.strip()), re.S) is not None


def check(page, command, expected, printed):
    if not matches(expected, printed):
        sys.exit(f"$ {command}\nprinted:\n{printed}\nbut {page} has:\n{expected}")
    print(f"ok: {command}", flush=True)


def serve(page, command, expected):
    """Starts a server and waits until it has printed as many lines as the page shows."""
    process = subprocess.Popen(
        command, shell=True, cwd=ROOT, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    giving_up = threading.Timer(PATIENCE, process.kill)
    giving_up.start()
    lines = len(expected.strip().splitlines())
    printed = "".join(process.stdout.readline() for _ in range(lines))
    giving_up.cancel()
    check(page, command, expected, printed)
    return process


def main():
    commands = list(console_commands())
    tests = [command for _, command, _ in commands if command.startswith("cargo test")]
    if sys.argv[1:] == ["--test"]:
        print("\n".join(tests))
        return
    servers = []
    try:
        for page, command, expected in commands:
            if command in tests:
                continue
            if command.endswith("-- dev"):
                servers.append(serve(page, command, expected))
                continue
            run = subprocess.run(
                command, shell=True, cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE
            )
            build = re.compile(r"^ +(Compiling|Finished|Running|Blocking|Downloaded?|Updating|Locking) .*\n", re.M)
            check(page, command, expected, run.stdout + build.sub("", run.stderr))
    finally:
        for server in servers:
            os.killpg(server.pid, signal.SIGINT)
            if server.wait(timeout=60) not in (0, -signal.SIGINT):
                sys.exit("the server did not end well")
    print(f"{len(commands) - len(tests)} commands print what the documents show")


main()
