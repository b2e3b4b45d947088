#!/usr/bin/env python3
"""Builds the image as docs/operations.md does, by deploy/image.sh, and looks at what came out.

    python3 .ci/image.py            builds it, checks it, and leaves the binary in target/image/totp-facade
    python3 .ci/image.py --twice    also builds it again with nothing cached, and compares

Needs root, and Debian's buildah and iproute2. The images that it starts from cannot be fetched everywhere, so Debian's
packages and this machine's compilers stand in for them.
"""

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

from expect import check
from image.bases import base, builder
from image.contained import mounted
from image.content import check_files, check_settings
from image.life import check_documented, check_ends, check_serves
from image.tools import FOLDER, fresh, prepare, run

NAME = "localhost/totp-facade"


def main():
    prepare()
    (base_image, base_files), (builder_image, mounts) = base(), builder()
    print("stand-ins: Debian's packages for the base, this machine's compilers for the builder", flush=True)
    stand_ins = [f"--build-arg=BASE={base_image}", f"--build-arg=BUILDER={builder_image}", *mounts]
    build(stand_ins, NAME)
    run("buildah", "rmi", "--prune")
    with mounted(NAME) as image:
        shutil.copy(Path(image.tree) / "totp-facade", FOLDER / "totp-facade")
        check_settings(image.config)
        check_files(image, base_files)
        check_ends(image)
        check_serves(image)
        check_documented(image)
    if sys.argv[1:] == ["--twice"]:
        check_same(stand_ins)


def build(stand_ins, name, **env):
    started = time.monotonic()
    run("deploy/image.sh", "--quiet", *stand_ins, "--tag", name, **env)
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)


def check_same(stand_ins):
    """The same commit gives the same layers and settings, although nothing of the first build is left."""
    again = f"{NAME}-again"
    build(stand_ins, again, TMPDIR=str(fresh("again")))
    with mounted(NAME) as first, mounted(again) as second:
        digests = [hashlib.sha256((Path(it.tree) / "totp-facade").read_bytes()).hexdigest() for it in (first, second)]
    check("the program, built again", digests[1], digests[0])
    first, second = settings(NAME), settings(again)
    check("its layers, built again", second["rootfs"], first["rootfs"])
    check("the rest of the image, built again", second, first)


def settings(name):
    """What the digest of an image is of, without the id of the container that it was built in."""
    found = json.loads(json.loads(run("buildah", "inspect", "--type", "image", name))["Config"])
    del found["container"]
    for config in (found["config"], found["container_config"]):
        del config["Hostname"]
    return found


main()
