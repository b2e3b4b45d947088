"""Runs what is in the image as a container would, without a container engine.

That is: in the image's tree, read-only, as its user, with its variables, and with a network that has nothing but a
loopback interface of its own, so that the default ports are free.
"""

import json
import subprocess
from contextlib import contextmanager
from signal import SIGKILL
from subprocess import PIPE

from expect import PATIENCE
from image.tools import ENV, run
from process import running

ENTER = """
ip link set lo up
mount --bind "$TREE" "$TREE"
mount --bind /proc "$TREE/proc"
mount --rbind /dev "$TREE/dev"
[ -z "$RUN" ] || mount --bind "$RUN" "$TREE/run"
mount -o remount,bind,ro "$TREE"
exec env --ignore-environment $VARIABLES chroot --userspec=$USER_ID "$TREE" "$@"
"""


class Image:
    """An image whose tree is mounted."""

    def __init__(self, tree, config):
        self.tree = tree
        self.config = config

    def command(self, *arguments):
        """What an engine runs: the entry point with the image's arguments or with others."""
        return [*self.config["Entrypoint"], *(arguments or self.config["Cmd"])]

    def running(self, *arguments, at_run="", **env):
        """Runs the image while the block runs, in a network and a tree of its own, perhaps with a folder at /run."""
        variables = self.config["Env"] + [f"{name}={value}" for name, value in env.items()]
        env = ENV | {"TREE": self.tree, "RUN": str(at_run)}
        env |= {"USER_ID": self.config["User"], "VARIABLES": " ".join(variables)}
        command = ["unshare", "--net", "--mount", "sh", "-euc", ENTER, "sh", *self.command(*arguments)]
        return running(*command, by=SIGKILL, env=env, text=True, stdout=PIPE, stderr=PIPE)

    def run(self, *arguments, **env):
        """Runs the image to its end; with the exit code and what it printed."""
        with self.running(*arguments, **env) as process:
            printed, problems = process.communicate(timeout=PATIENCE)
        return process.returncode, printed + problems

    def inside(self, process, *command):
        """Runs a command in the container of a process, as `docker exec` would; with its exit code and output."""
        user, group = self.config["User"].split(":")
        return entered(process, "--mount", "--root", "--wd", f"--setuid={user}", f"--setgid={group}", *command)


def entered(process, *command):
    """Runs a command in the network of a process; with its exit code and output."""
    enter = ["env", "--ignore-environment", "nsenter", f"--target={process.pid}", "--net"]
    done = subprocess.run([*enter, *command], text=True, capture_output=True, timeout=PATIENCE)
    return done.returncode, (done.stdout + done.stderr).strip()


@contextmanager
def mounted(name):
    """Mounts an image while the block runs."""
    [inspected] = [json.loads(run("buildah", "inspect", "--type", "image", name))]
    container = run("buildah", "from", "--pull-never", name)
    try:
        yield Image(run("buildah", "mount", container), inspected["Docker"]["config"])
    finally:
        run("buildah", "rm", container)
