#!/usr/bin/env python3
"""What `totp-facade contract`, `man` and `completions` print, read by the programs that they are for.

- Debian's protoc, which is older than `debug_redact`, and the one of grpcio-tools compile the `.proto` files. Both must
  find the descriptors that the program prints.
- groff formats each man page without a warning; bash, zsh and fish read their completions, and
  fish offers the names of shells where one is wanted.

Runs the commands of docs/contract.md and docs/operations.md that say so, in a folder of their own. Installs Debian's
packages, which takes root.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import debian
from facade import PROGRAM, ROOT
from snippets.tools import python_packages, run

BLOCK = re.compile(r"^<!-- run by: \.ci/contract\.py -->\n```sh\n(.*?)^```", re.M | re.S)
WITHOUT = "--without-debug-redact"


def printed(*arguments):
    return subprocess.run([PROGRAM, *arguments], check=True, capture_output=True).stdout


def run_commands(page, folder):
    """Runs the commands of a page, with `folder` in place of /usr and target."""
    commands = BLOCK.findall((ROOT / page).read_text())
    if len(commands) != 1:
        sys.exit(f"{page} has {len(commands)} blocks for this check")
    script = re.sub(r"(?<=[ =])(/usr|target)/", f"{folder}/", commands[0])
    run("bash", "-euc", script, PATH=f"{PROGRAM.parent}:{os.environ['PATH']}")


def files(descriptor_set):
    """The files of a descriptor set by name, without comments, and without JSON names, which follow from the names."""
    from google.protobuf import descriptor_pb2

    found = {}
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file:
        file.ClearField("source_code_info")
        # Options without any say nothing either.
        text = re.sub(r"\n *options \{\n *\}", "", str(file))
        found[file.name] = [line for line in text.splitlines() if not line.strip().startswith("json_name: ")]
    return found


def check_descriptors(protoc, flags, folder):
    """Compiles the files of the contract, and compares the descriptors with those that the program prints."""
    printed("contract", "--proto", folder, *flags)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.proto"))
    found = folder / "found.binpb"
    run(protoc, f"--proto_path={folder}", f"--descriptor_set_out={found}", *names)
    compiled, own = files(found.read_bytes()), files(printed("contract", *flags))
    if not names or sorted(compiled) != names:
        sys.exit(f"{protoc} finds {sorted(compiled)} in {names}")
    for name in names:
        if compiled[name] != own[name]:
            sys.exit(f"{protoc} reads {name} as something else")
    redacted = any("debug_redact: true" in line for file in compiled.values() for line in file)
    if redacted == (WITHOUT in flags):
        sys.exit(f"{protoc} {'finds' if redacted else 'misses'} debug_redact")
    print(f"ok: {protoc} finds the printed descriptors in {len(names)} files")


def check_java(folder):
    printed("contract", "--proto", folder / "contract", WITHOUT)
    run_commands("docs/contract.md", folder)
    if not any((folder / "java").rglob("*.java")):
        sys.exit("protoc makes no classes")
    print("ok: docs/contract.md makes Java's classes")


def check_pages(folder):
    pages = sorted((folder / "local/share/man/man1").glob("*.1"))
    for page in pages:
        formatted = subprocess.run(["groff", "-Kutf8", "-man", "-ww", "-Tutf8", "-z", page], text=True, capture_output=True)
        if formatted.returncode or formatted.stderr:
            sys.exit(f"groff warns of {page.name}:\n{formatted.stderr}")
    if len(pages) < 10:
        sys.exit(f"there are only {len(pages)} man pages")
    print(f"ok: groff formats {len(pages)} man pages")


def check_completions(folder):
    (folder / "fish").write_bytes(printed("completions", "fish"))
    for read, script in [
        (["bash", "-n"], "share/bash-completion/completions/totp-facade"),
        (["zsh", "-n"], "share/zsh/vendor-completions/_totp-facade"),
        (["fish", "--no-execute"], "fish"),
    ]:
        if not (folder / script).read_text().strip():
            sys.exit(f"{script} is empty")
        run(*read, folder / script)
    print("ok: bash, zsh and fish read their completions")
    script = f"source {folder / 'fish'}; complete --do-complete 'totp-facade completions '"
    offered = subprocess.run(["fish", "--no-config", "-c", script], text=True, capture_output=True, check=True)
    if offered.stdout.split() != ["bash", "elvish", "fish", "powershell", "zsh"]:
        sys.exit(f"fish completes the name of a shell with {offered.stdout}")
    print("ok: fish completes the names of shells")


def main():
    python_packages()
    debian.install("contract")
    for protoc, flags in {"protoc": [WITHOUT], "python-grpc-tools-protoc": []}.items():
        with tempfile.TemporaryDirectory() as folder:
            check_descriptors(protoc, flags, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        check_java(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for place in ["bash-completion/completions", "zsh/vendor-completions"]:
            (folder / "share" / place).mkdir(parents=True)
        run_commands("docs/operations.md", folder)
        check_pages(folder)
        check_completions(folder)


main()
