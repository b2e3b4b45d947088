"""Installs Debian's packages, which takes root where one is missing.

    python3 .ci/debian.py               all that .ci/packages lists, at once, because apt cannot run beside itself
    python3 .ci/debian.py proxies go    those of these recipes and languages
"""

import os
import subprocess
import sys
from pathlib import Path


def groups():
    """The packages of each recipe and language."""
    lines = Path(__file__).with_name("packages").read_text().splitlines()
    named = (line.split(":") for line in lines if line and not line.startswith("#"))
    return {name: packages.split() for name, packages in named}


def install(*names):
    known = groups()
    wanted = sorted({package for name in names for package in known[name]})
    if wanted and not is_installed(wanted):
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        options = ["-qq", "--yes", "--no-install-recommends"]
        subprocess.run(["apt-get", "install", *options, *wanted], check=True, env=env)


def is_installed(packages):
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}\n", *packages]
    found = subprocess.run(query, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return found.returncode == 0 and all(it.startswith("ii") for it in found.stdout.splitlines())


if __name__ == "__main__":
    install(*(sys.argv[1:] or groups()))
