"""Ports, and servers that run while a block runs, for the scripts beside this one."""

import random
import socket
import subprocess
import sys
from contextlib import contextmanager

from expect import PATIENCE, wait_until


# Ports that are given to nobody else: below those that Linux takes for outgoing connections.
PORTS = range(20_000, 32_000)
given = set()


def free_port():
    """A port that stays free until it is used, also while a server on it is away."""
    while True:
        port = random.choice(PORTS)
        if port in given:
            continue
        given.add(port)
        with socket.socket() as it:
            try:
                it.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def connects(port):
    with socket.socket() as it:
        return it.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(port, *command, log=None, **options):
    """Runs a server while the block runs, which begins once the server listens. What it prints goes into the file
    `log`, and is shown if it does not start."""
    with open(log or "/dev/null", "w") as output:
        it = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, **options)

    def listens():
        if it.poll() is not None:
            sys.exit(f"{command[0]} does not start:\n{log.read_text() if log else ''}")
        return connects(port)

    try:
        wait_until(listens, f"{command[0]} listens")
        yield it
    finally:
        it.terminate()
        it.wait(timeout=PATIENCE)
