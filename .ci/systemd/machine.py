"""A systemd of its own beside this machine's processes, in namespaces."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from expect import PATIENCE, wait_until
from process import running

BOOT = Path(__file__).with_name("boot.sh")


class Machine:
    def __init__(self, process):
        # `unshare` waits for its one child, which is process 1 of the machine.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_until(lambda: children.read_text().split(), "the namespaces exist")
        self.init = int(children.read_text())

    def command(self, *command, user=None, groups=""):
        enter = ["nsenter", "--target", str(self.init), "--all", "--wd=/"]
        if user is not None:
            groups = [f"--groups={groups}"] if groups else ["--clear-groups"]
            enter += ["setpriv", f"--reuid={user}", f"--regid={user}", *groups]
        return [*enter, *map(str, command)]

    def try_run(self, *command, input=None, **who):
        """Returns exit code and output."""
        command = self.command(*command, **who)
        done = subprocess.run(
            command,
            text=True,
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout

    def run(self, *command, **more):
        code, output = self.try_run(*command, **more)
        if code != 0:
            sys.exit(f"{command} ended with {code}:\n{output}")
        return output.strip()

    def write(self, path, text):
        self.run("tee", path, input=text)


@contextmanager
def machine(log):
    """A machine while the block runs; what its systemd says goes to `log`."""
    if os.geteuid() != 0:
        sys.exit("needs root, to boot a systemd in namespaces")
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next(Path(mount[1]) for mount in mounts if mount[2] == "cgroup2")
    group = root / f"totp-facade-check-{os.getpid()}"
    group.mkdir()
    unshare = "unshare --cgroup --mount --pid --kill-child --uts --ipc --mount-proc"
    command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec {unshare} sh "$0"', BOOT]
    try:
        with running(*command, by=signal.SIGKILL, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as it:
            machine = Machine(it)
            wait_until(
                lambda: machine.try_run("systemctl", "is-system-running")[1].strip() == "running",
                "systemd runs",
            )
            yield machine
    finally:
        wait_until(lambda: is_removed(group), "all have ended")


def is_removed(group):
    """Removes a control group, unless a process of it still ends."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
