"""Runs what is in the image as a container would, without a container engine.

That is: in the image's tree, read-only, as its user, with its variables, and with a network that has nothing but a
loopback interface of its own, so that the default ports are free.
"""

import json
import subprocess
from contextlib import contextmanager

from image.tools import ENV, run

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

    def start(self, *arguments, at_run="", **env):
        """Starts the image in a network and a tree of its own, perhaps with a folder at /run."""
        variables = self.config["Env"] + [f"{name}={value}" for name, value in env.items()]
        return subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-euc", ENTER, "sh", *self.command(*arguments)],
            env=ENV
            | {"TREE": self.tree, "RUN": str(at_run)}
            | {"USER_ID": self.config["User"], "VARIABLES": " ".join(variables)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments, **env):
        """Runs the image to its end; with the exit code and what it printed."""
        process = self.start(*arguments, **env)
        printed, problems = process.communicate(timeout=60)
        return process.returncode, printed + problems

    @contextmanager
    def running(self, *arguments, **options):
        process = self.start(*arguments, **options)
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=60)

    def inside(self, process, *command):
        """Runs a command in the container of a process, as `docker exec` would; with its exit code and output."""
        user, group = self.config["User"].split(":")
        return entered(process, "--mount", "--root", "--wd", f"--setuid={user}", f"--setgid={group}", *command)


def entered(process, *command):
    """Runs a command in the network of a process; with its exit code and output."""
    enter = ["env", "--ignore-environment", "nsenter", f"--target={process.pid}", "--net"]
    done = subprocess.run([*enter, *command], text=True, capture_output=True, timeout=60)
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
