#!/usr/bin/env python3
"""Compares the contract with that of the last release: callers built against it must go on working.

    python3 .ci/breaking.py            a clone that is shallow, and has no tag of a release, has nothing to compare with
    python3 .ci/breaking.py --whole    where such a clone is a failure

Before the first release every change is allowed. The comparison itself is tried each time, with a contract in which a
field is missing.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def is_shallow():
    return git("rev-parse", "--is-shallow-repository").strip() == b"true"


def last_release():
    """The newest release before this commit, or None."""
    this = set(git("tag", "--points-at", "HEAD").decode().split())
    tags = git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").decode().split()
    return next((tag for tag in tags if tag not in this), None)


def contract_of(tag, folder):
    archive = git("archive", tag, "proto", "buf.yaml")
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
    return folder


def breaks(against, contract=ROOT):
    """What of a contract breaks callers of another one."""
    command = ["buf", "breaking", "--against", str(against)]
    ran = subprocess.run(command, cwd=contract, text=True, capture_output=True)
    if ran.returncode not in (0, 100) or ran.stderr:
        sys.exit(f"buf failed:\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def try_comparison(folder):
    """A contract without one of its fields must be found to break callers."""
    shutil.copytree(ROOT / "proto", folder / "proto")
    shutil.copy(ROOT / "buf.yaml", folder)
    totp = folder / "proto/stytch/b2b/totp/v1/totp.proto"
    text = totp.read_text()
    field = re.search(r"^  string (\w+) = \d+.*;\n", text, re.M)
    totp.write_text(text.replace(field[0], "", 1))
    found = breaks(ROOT, contract=folder)
    if f'"{field[1]}"' not in found:
        sys.exit(f"a contract without {field[1]} breaks nothing:\n{found}")


def main():
    with tempfile.TemporaryDirectory() as changed, tempfile.TemporaryDirectory() as released:
        try_comparison(Path(changed))
        tag = last_release()
        if sys.argv[1:] == ["--whole"] and is_shallow():
            sys.exit("this clone is shallow, and may lack the tag of the last release")
        if tag is None and is_shallow():
            print("NOT COMPARED: this clone is shallow, and has no release (git fetch --unshallow --tags)")
            return
        if tag is None:
            print("not compared: there is no release yet, so every change of the contract is allowed")
            return
        if found := breaks(contract_of(tag, released)):
            sys.exit(f"the contract breaks callers of {tag}:\n{found}")
        print(f"the contract serves callers of {tag}")


main()
