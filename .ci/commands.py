#!/usr/bin/env python3
"""Runs the commands of the documents, page by page, and compares what they print.

A console block holds commands (after "$ ") and the output of each. In the output, "…" matches anything, and values
that differ at each run (ids, secrets, codes, times, free ports) match any value of their kind. A server runs in the
background until the page ends; a page that starts none finds `totp-facade dev` at its default addresses.
The README's "cargo test" takes long, so it is run alone, with --test.

Every block of commands is run here, or a comment above it says why not: <!-- not run: REASON -->, or which file of this
repository runs it: <!-- run by: FILE -->.
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import debian
from expect import BUILD_PATIENCE
from facade import ROOT
from process import first_lines, running

PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"]

# Pages all of whose blocks are run by a test, and that test.
RUN_BY_TEST = {"docs/flows.md": "tests/it/flows.rs", "docs/kubernetes.md": "deploy/check/tests/it/pages.rs"}

BLOCK = re.compile(r"^(?:<!-- (not run|run by): ([^\n]+) -->\n)?```(console|sh|bash|shell)\n(.*?)^```", re.M | re.S)
SERVER = re.compile(r"\b(?:cargo run --|totp-facade) (dev|sandbox|console|serve)\b(?!.*--help)")

KINDS = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
    (r"\b[A-Z2-7]{32}\b", "SECRET"),
    (r"\b[a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4}\b", "RECOVERY-CODE"),
    (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", "TIME"),
    (r"(?m)^token: \S{43}$", "TOKEN"),
    (r"\b[0-9a-f]{64}\b", "HASH"),
    (r"(sandbox listening on 127\.0\.0\.1):(?!8090\b)\d+", r"\1:PORT"),
    (r"(console listening on http://127\.0\.0\.1):(?!8091\b)\d+", r"\1:PORT"),
]


def pages():
    docs = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
    return [page for page in PAGES + docs if page not in RUN_BY_TEST]


def commands_of(page):
    """Returns each command of a page that is run here, with its output."""
    commands = []
    for how, what, kind, block in BLOCK.findall((ROOT / page).read_text()):
        if how == "run by":
            runner = ROOT / what
            if not runner.is_file() or page not in runner.read_text():
                sys.exit(f"{what} does not name {page}, of which it is to run\n{block}")
        if how:
            continue
        if kind != "console":
            sys.exit(f"{page}: nothing runs this block, and nothing above it says why:\n{block}")
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            while command.endswith("\\"):
                more, _, output = output.partition("\n")
                command = command[:-1] + more.removeprefix("> ").strip()
            commands.append((command, output))
    return commands


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
    print(f"ok: {page}: {command}", flush=True)


@contextmanager
def serve(page, command, expected):
    """Runs a server while the block runs, which begins once it has printed as many lines as the page shows."""
    with running(command, by=signal.SIGINT, shell=True, cwd=ROOT, text=True, stdout=subprocess.PIPE) as server:
        printed = first_lines(server, len(expected.strip().splitlines()), BUILD_PATIENCE)
        check(page, command, expected, "".join(printed))
        yield
    if server.returncode not in (0, -signal.SIGINT):
        sys.exit(f"{command} did not end well")


def run(page, command, expected):
    ran = subprocess.run(command, shell=True, cwd=ROOT, text=True, capture_output=True, timeout=BUILD_PATIENCE)
    build = re.compile(r"^ +(Compiling|Finished|Running|Blocking|Downloaded?|Updating|Locking) .*\n", re.M)
    check(page, command, expected, ran.stdout + build.sub("", ran.stderr))


def run_page(page, commands):
    with ExitStack() as servers:
        if not any(SERVER.search(command) for command, _ in commands):
            dev = "totp-facade dev --drain-delay 0s", "grpc listening on 127.0.0.1:50051"
            servers.enter_context(serve(page, *dev))
        for command, expected in commands:
            if SERVER.search(command):
                servers.enter_context(serve(page, command, expected))
            else:
                run(page, command, expected)


def main():
    commands = {page: commands_of(page) for page in pages()}
    tests = [command for command, _ in commands["README.md"] if command.startswith("cargo test")]
    if sys.argv[1:] == ["--test"]:
        if not tests:
            sys.exit("README.md does not say how to run the tests")
        for command in tests:
            subprocess.run(command, shell=True, cwd=ROOT, check=True)
        return
    for page, test in RUN_BY_TEST.items():
        if page not in (ROOT / test).read_text():
            sys.exit(f"{test} does not run {page}")
    debian.install("commands")
    subprocess.run(["cargo", "build", "--locked"], cwd=ROOT, check=True)
    os.environ["PATH"] = f"{ROOT / 'target/debug'}:{os.environ['PATH']}"
    ran = 0
    for page, of_page in commands.items():
        here = [(command, expected) for command, expected in of_page if command not in tests]
        if here:
            run_page(page, here)
        ran += len(here)
    print(f"{ran} commands print what the documents show")


main()
