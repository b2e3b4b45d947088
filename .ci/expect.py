"""Assertions and waiting for the other scripts."""

import sys
import time

# In seconds, for what takes one or two on a machine that does nothing else. A wait ends when the thing happens, so this
# costs time only where it never does; CI's machine may be many times slower.
PATIENCE = 300
# The same for a build from scratch.
BUILD_PATIENCE = 3600


def wait_until(condition, what):
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > PATIENCE:
            sys.exit(f"waited in vain until {what}")
        time.sleep(0.01)


def check(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found}, but expected {expected}")
    print(f"ok: {what}: {found}", flush=True)


def check_all(what, found, expected):
    """Holds several facts to what is expected of them, by their names."""
    for name, value in expected.items():
        if found[name] != value:
            sys.exit(f"{what}: {name}: {found[name]}, but expected {value}")
    print(f"ok: {what}: {', '.join(expected)}", flush=True)
