"""Builds the examples, each with its probe, in a copy as deep below the repository as the original."""

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from facade import ROOT
from snippets.languages import link, old_protos, prepared
from snippets.tools import run

PROBES = Path(__file__).resolve().parent / "probes"
HEALTH = Path(__file__).resolve().parent / "health.proto"


@dataclass
class Program:
    """An example and its probe, as commands that run in a folder."""

    folder: Path
    enrol: list
    probe: list
    env: dict = field(default_factory=dict)


def copy(name, probe, place="."):
    folder = ROOT / f"target/interop-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("node_modules", "generated", "gen", "target", "__pycache__", "*.o")
    shutil.copytree(ROOT / "examples" / name, folder, ignore=ignored)
    (folder / place).mkdir(parents=True, exist_ok=True)
    shutil.copy(PROBES / probe, folder / place)
    return folder


def python():
    folder = copy("python", "probe.py")
    return Program(folder, [sys.executable, "enrol.py"], [sys.executable, "probe.py"])


def typescript():
    prepared("typescript")
    folder = copy("node", "probe.ts")
    shutil.copy(HEALTH, folder)
    link(folder / "node_modules", ROOT / "examples/node/node_modules")
    run("npm", "run", "generate", cwd=folder)
    run("npm", "run", "check", cwd=folder)
    return Program(folder, ["node", "enrol.ts"], ["node", "probe.ts"])


def go():
    """In a GOPATH, since Debian's Go packages are no modules, and with `Dial`, which NewClient was before gRPC 1.63."""
    language, folder = prepared("go"), copy("go", "probe.go")
    unformatted = run("gofmt", "-d", *folder.glob("*.go"))
    if unformatted:
        sys.exit(unformatted)
    run("buf", "generate", cwd=folder, PATH=f"{language.folder}/bin:{os.environ['PATH']}")
    module = folder / "path/src" / language.MODULE
    shutil.copytree(folder / "gen", module / "gen")
    for name, main in [("enrol", "main.go"), ("probe", "probe.go")]:
        (module / name).mkdir()
        for file in [main, "facade.go", "totp.go"]:
            text = (folder / file).read_text().replace("grpc.NewClient(", "grpc.Dial(")
            (module / name / file).write_text(text)
        package = f"{language.MODULE}/{name}"
        language.go("build", "-o", folder / name, package, before=folder / "path")
    # Without this, gRPC before 1.40 retries nothing.
    return Program(folder, ["./enrol"], ["./probe"], {"GRPC_GO_RETRY": "on"})


def java():
    language, folder = prepared("java"), copy("java", "Probe.java", "src/main/java/enrol")
    plugin = shutil.which("grpc_java_plugin")
    output = [f"--java_out={folder}", f"--grpc-java_out={folder}"]
    run(
        "protoc", f"-I{HEALTH.parent}", *output, f"--plugin=protoc-gen-grpc-java={plugin}", HEALTH
    )
    language.compile([*folder.rglob("*.java")])
    command = language.command(folder / "enrol" / "Call.java")[:-1]
    return Program(folder, [*command, "enrol.Enrol"], [*command, "enrol.Probe"])


def cpp():
    language, folder = prepared("cpp"), copy("cpp", "probe.cc")
    shutil.copy(PROBES / "probe.mk", folder)
    shutil.copy(HEALTH, folder)
    # The header that is compiled already.
    flags = [f"GEN={language.folder}/gen", f"CXXFLAGS=-include {language.folder}/all.h"]
    run("make", "--jobs=2", "--file=probe.mk", *flags, "enrol", "probe", cwd=folder)
    return Program(folder, ["./enrol"], ["./probe"])


def ruby():
    folder = copy("ruby", "probe.rb")
    run("./generate.sh", cwd=folder, PROTO=str(old_protos()))
    return Program(folder, ["ruby", "enrol.rb"], ["ruby", "probe.rb"])


def rust():
    folder = copy("rust", "probe.rs", "src/bin")
    # As the snippets set it, to share their build.
    profile = ['profile.dev.debug="line-tables-only"', 'profile.dev.package."*".debug=false']
    options = ["--quiet", "--locked", *(word for it in profile for word in ("--config", it))]
    run("cargo", "build", *options, cwd=folder, CARGO_TARGET_DIR=str(ROOT / "target"))
    binaries = ROOT / "target/debug"
    return Program(folder, [binaries / "enrol"], [binaries / "probe"])


PROGRAMS = {
    "Python": python,
    "TypeScript": typescript,
    "Go": go,
    "Java": java,
    "C++": cpp,
    "Ruby": ruby,
    "Rust": rust,
}
