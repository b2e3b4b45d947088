"""Installs what the snippets need, and runs commands."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import process
from facade import ROOT

HERE = Path(__file__).resolve().parent
FOLDER = ROOT / "target/snippets"
PROTO = FOLDER / "proto"
VENV = ROOT / "target/ci-tools"

# Node.js, npm and grpcurl come from PyPI. Who has a totp-facade on PATH runs that one.
os.environ["PATH"] = f"{VENV}/bin:{os.environ['PATH']}:{ROOT}/target/debug"


def python_packages(requirements=HERE / "requirements.txt"):
    """Goes on in a virtual environment that has these packages."""
    if Path(sys.prefix) != VENV:
        if not (VENV / "bin/pip").exists():
            run(sys.executable, "-m", "venv", VENV)
        os.execv(VENV / "bin/python", [VENV / "bin/python", *sys.argv])
    name = f"{requirements.parent.name}-requirements"
    files = [requirements, HERE / "requirements.txt", ROOT / "examples/python/requirements.txt"]
    if is_new(name, *files):
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        run(*pip, "install", "--requirement", requirements)
        done(name, *files)


def run(*command, cwd=ROOT, **env):
    """Runs a command that must succeed, with further variables; with its standard output."""
    return process.run(*command, cwd=cwd, env=os.environ | env)


def proto_files():
    """Copies the contract and the echo service of this folder into one; with its files."""
    originals = {
        path.relative_to(folder): path
        for folder in [ROOT / "proto", HERE / "proto"]
        for path in folder.rglob("*.proto")
    }
    if is_new("proto", *originals.values()):
        shutil.rmtree(PROTO, ignore_errors=True)
        for name, path in originals.items():
            (PROTO / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, PROTO / name)
        done("proto", *originals.values())
    return sorted(map(str, originals))


def is_new(name, *files):
    """Whether these files have changed since `done`."""
    stamp = FOLDER / f"{name}.stamp"
    return not stamp.exists() or stamp.read_text() != digest(files)


def done(name, *files):
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.stamp").write_text(digest(files))


def digest(files):
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
