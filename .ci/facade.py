"""Starts the façade on free ports, for the scripts beside this one."""

import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORTS = ["--admin-addr", "127.0.0.1:0", "--drain-delay", "0s"]


@contextmanager
def facade(subcommand, *flags, grpc="127.0.0.1:0", lines=2, stderr=None, **env):
    """Runs `serve` or `dev` while the block runs; with the addresses that its first lines name."""
    process = subprocess.Popen(
        ["cargo", "run", "--", subcommand, "--grpc-addr", grpc, *PORTS, *flags],
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
