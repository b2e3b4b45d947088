"""Assertions and waiting for the other scripts."""

import sys
import time

PATIENCE = 60  # seconds


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
