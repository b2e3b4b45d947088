"""Runs the façade on free ports, for the scripts beside this one."""

import os
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

from process import first_lines, running

ROOT = Path(__file__).resolve().parent.parent
# As it was built last, or another one.
PROGRAM = Path(os.environ.get("TOTP_FACADE", ROOT / "target/debug/totp-facade")).absolute()
PORTS = ["--admin-addr", "127.0.0.1:0", "--drain-delay", "0s"]


@contextmanager
def facade(subcommand, *flags, grpc="127.0.0.1:0", lines=2, stderr=None, **env):
    """Runs `serve` or `dev` while the block runs; with the addresses that its first lines name."""
    command = [PROGRAM, subcommand, "--grpc-addr", grpc, *PORTS, *flags]
    with running(*command, text=True, stdout=PIPE, stderr=stderr, env=os.environ | env) as it:
        yield dict(line.strip().split(" listening on ") for line in first_lines(it, lines))
