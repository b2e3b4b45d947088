"""Starts the façade on free ports, for the scripts beside this one."""

import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORTS = ["--grpc-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--drain-delay", "0s"]


@contextmanager
def facade(subcommand, *flags, lines=2, stderr=None, **env):
    """Runs `serve` or `dev` while the block runs; with the addresses that its first lines name."""
    process = subprocess.Popen(
        ["cargo", "run", "--", subcommand, *PORTS, *flags],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=os.environ | env,
        start_new_session=True,
    )
    try:
        yield dict(process.stdout.readline().strip().split(" listening on ") for _ in range(lines))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
