#!/usr/bin/env python3
"""Builds the examples, and lets clients of seven languages and three tools meet a façade: calls, errors, deadlines,
retries, broken connections, TLS, and replicas that are replaced. What came of it is the matrix of docs/interop.md.

    python3 .ci/interop.py                  compares it with the page, or with UPDATE_DOCS=1 prints it there
    python3 .ci/interop.py Go grpcurl       these clients only, without the page

Installs what it needs.
"""

import sys
import time
from pathlib import Path

from snippets.tools import FOLDER, python_packages


def main():
    started = time.monotonic()
    python_packages(Path(__file__).resolve().parent / "interop/requirements.txt")
    FOLDER.mkdir(parents=True, exist_ok=True)
    # They need what python_packages installs.
    from interop.matrix import publish
    from interop.rows import every_row

    names = sys.argv[1:]
    results = every_row(names)
    cells = [holds for row in results.values() for holds in row.values()]
    if not names:
        publish(results)
    print(f"in {time.monotonic() - started:.0f} s:")
    print(f"{sum(cells)} passed, {len(cells) - sum(cells)} failed")
    if not all(cells):
        sys.exit(1)


main()
