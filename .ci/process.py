"""Ports, commands, and processes that run while a block runs, for the scripts beside this one."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

from expect import BUILD_PATIENCE, PATIENCE, wait_until

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


def run(*command, **options):
    """Runs a command that must succeed; with its standard output. What it says otherwise is shown if it fails."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": BUILD_PATIENCE} | options
    done = subprocess.run(list(map(str, command)), text=True, **options)
    if done.returncode != 0:
        words = " ".join(map(str, command))
        sys.exit(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr or ''}")
    return done.stdout


def start(*command, **options):
    """Starts a process, in a session of its own, so that it can be ended with all that it starts."""
    return subprocess.Popen(list(map(str, command)), start_new_session=True, **options)


def end(it, by=signal.SIGTERM):
    """Sends a signal to a process and to all that it has started; with its exit code. One that does not end is killed,
    and fails the check."""
    # The group is there as long as one of its processes is.
    with suppress(ProcessLookupError):
        os.killpg(it.pid, by)
    try:
        return it.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(it.pid, signal.SIGKILL)
        raise


@contextmanager
def running(*command, by=signal.SIGTERM, **options):
    """Runs a process while the block runs, and ends it by a signal."""
    with start(*command, **options) as it:
        try:
            yield it
        finally:
            end(it, by)


@contextmanager
def process(port, *command, log=None, **options):
    """Runs a server while the block runs, which begins once the server listens. What it prints goes into the file
    `log`, and is shown if it does not start."""
    with open(log or os.devnull, "w") as output, running(*command, stdout=output, stderr=output, **options) as it:
        wait_until_listening(it, port, log)
        yield it


def wait_until_listening(it, port, log=None):
    def listens():
        if it.poll() is not None:
            sys.exit(f"{it.args[0]} does not start:\n{log.read_text() if log else ''}")
        return connects(port)

    wait_until(listens, f"{it.args[0]} listens on {port}")


def first_lines(it, count, patience=PATIENCE):
    """The first lines that a process prints. It is killed if they take too long."""
    giving_up = threading.Timer(patience, it.kill)
    giving_up.start()
    lines = [it.stdout.readline() for _ in range(count)]
    giving_up.cancel()
    if not all(lines):
        sys.exit(f"{it.args} printed less than {count} lines:\n{''.join(lines)}")
    return lines
