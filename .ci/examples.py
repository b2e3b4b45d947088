#!/usr/bin/env python3
"""Runs the Python and the TypeScript example, twice each, against a fresh `dev`.

Takes its tools from PATH: a Python with examples/python/requirements.txt, Node.js and npm.
"""

import os
import re
import subprocess
import sys

from facade import ROOT, facade

NODE = ROOT / "examples/node"
PYTHON = ROOT / "examples/python"
PATIENCE = 900  # seconds, for a build from scratch

LINES = [
    r"(there is an active TOTP; removing it)?",
    r"scan .*qr\.png, or type [A-Z2-7]{32}",
    r"logged in, until \d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.000)?Z",
    r"the same code again: INVALID_ARGUMENT TOTP_CODE_ALREADY_AUTHENTICATED rejected \['?code'?\]",
]


def run(command, folder, **env):
    done = subprocess.run(
        command, cwd=folder, env=os.environ | env, text=True, capture_output=True, timeout=PATIENCE
    )
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main():
    run(["npm", "ci"], NODE)
    run(["npm", "run", "generate"], NODE)
    run(["npm", "run", "check"], NODE)
    with facade("dev", "--log", "warn,audit=off", lines=3) as addrs:
        for command, folder in [
            ([sys.executable, "enrol.py"], PYTHON),
            (["node", "enrol.ts"], NODE),
        ] * 2:
            printed = run(command, folder, ADDR=addrs["grpc"])
            if not re.fullmatch(r"\n?".join(LINES), printed.strip()):
                sys.exit(f"{command} printed:\n{printed}")
            print(f"ok: {' '.join(command[1:])}", flush=True)
    # All but the very first find the TOTP of the one before.
    if "removing it" not in printed:
        sys.exit("the last program found no active TOTP")


main()
