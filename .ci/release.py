#!/usr/bin/env python3
"""What a release needs to know of its version.

    python3 .ci/release.py v1.2.3      prints what CHANGELOG.md says of it, if all files agree on the version

The tag, Cargo.toml, the chart (version and appVersion) and CHANGELOG.md have to agree.
"""

import re
import sys
from pathlib import Path

VERSIONS = [
    ("Cargo.toml", r'^version = "(.+)"$'),
    ("deploy/helm/totp-facade/Chart.yaml", r'^version: "?([^"\n]+)"?$'),
    ("deploy/helm/totp-facade/Chart.yaml", r'^appVersion: "?([^"\n]+)"?$'),
]


def notes(root, tag):
    """The notes of a release; raises ValueError if something does not agree."""
    version = tag.removeprefix("v")
    if tag == version:
        raise ValueError(f"{tag} is no tag of a release, which begins with v")
    for file, pattern in VERSIONS:
        found = re.search(pattern, (root / file).read_text(), re.M)
        if found is None or found[1] != version:
            raise ValueError(f"{file}: {found and found[0]}, but the tag is {tag}")
    return section((root / "CHANGELOG.md").read_text(), version)


def section(changelog, version):
    """The text below a heading such as `## 1.2.3 - 2026-12-01`."""
    heading = rf"^## \[?{re.escape(version)}\]? - \d{{4}}-\d{{2}}-\d{{2}}\n(.*?)(?=^## |\Z)"
    found = re.search(heading, changelog, re.M | re.S)
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md says nothing below a heading `## {version} - YYYY-MM-DD`")
    return found[1].strip()


if __name__ == "__main__":
    try:
        print(notes(Path(__file__).resolve().parent.parent, sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
