"""Runs commands, and buildah with storage of its own below target/."""

import os
import shutil

import process
from facade import ROOT

FOLDER = ROOT / "target/image"

# With chroot, buildah needs no runtime for containers. The caches of RUN are in TMPDIR.
ENV = os.environ | {
    "BUILDAH_ISOLATION": "chroot",
    "CONTAINERS_STORAGE_CONF": str(FOLDER / "storage.conf"),
    "TMPDIR": str(FOLDER / "tmp"),
}
STORAGE = f"""[storage]
driver = "overlay"
graphroot = "{FOLDER}/storage"
runroot = "{FOLDER}/run"
"""


def prepare():
    (FOLDER / "tmp").mkdir(parents=True, exist_ok=True)
    (FOLDER / "storage.conf").write_text(STORAGE)


def fresh(name):
    """An empty folder."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def run(*command, **env):
    """Runs a command that must succeed, in that storage; with its standard output."""
    return process.run(*command, cwd=ROOT, env=ENV | env, stderr=None).strip()
