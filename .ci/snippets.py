#!/usr/bin/env python3
"""Builds and runs the snippets of the console, in every language.

    python3 .ci/snippets.py                        everything below
    python3 .ci/snippets.py python go              these languages only
    python3 .ci/snippets.py --run LANGUAGE FILE    one snippet, with the environment that there is

Every method, with a hostile value in every field, is called at a server that records what arrives. There, programs
also meet failures that they must retry or must not, and TLS with a token. Then every method is called at a `dev`,
where it succeeds and fails. Installs what it needs.
"""

import os
import sys
import time
from pathlib import Path

import debian
from snippets.languages import LANGUAGES, prepared
from snippets.tools import FOLDER, python_packages


def run_one(name, file):
    """Runs one snippet from a file, in place of this process."""
    language = prepared(name)
    [command] = language.build({"given": Path(file).read_text()}).values()
    os.chdir(language.folder)
    os.execvp(command[0], list(map(str, command)))


def run_all(names):
    # They need what python_packages installs.
    from snippets.check import check

    started = time.monotonic()
    debian.install(*(group for name in names for group in LANGUAGES[name].packages))
    passed = check(names)
    print(f"{passed} passed, 0 failed in {time.monotonic() - started:.0f} s")


def main():
    python_packages()
    FOLDER.mkdir(parents=True, exist_ok=True)
    match sys.argv[1:]:
        case ["--run", name, file]:
            run_one(name, Path(file).resolve())
        case names:
            run_all(names or list(LANGUAGES))


main()
