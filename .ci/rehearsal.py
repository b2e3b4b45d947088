#!/usr/bin/env python3
"""Rehearses a release with the image that `just image` has left, against a registry on this machine.

Runs the scripts of .ci/release/ as .github/workflows/release.yml does, and looks at what they leave. The other
architecture is the same image under another name. Not rehearsed: signing and attesting (which need the code host's
identity), and the release itself. Needs Debian's docker-registry and skopeo, and for minutes, once, what compiles
cargo-cyclonedx; Helm is that of helm.py.
"""

import hashlib
import json
import os
import re
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path

from expect import check
from facade import ROOT
from helm import CHART, TOOLS, install_all
from image.tools import ENV, FOLDER, fresh, prepare, run
from process import free_port, process

VERSION = "0.0.1-rehearsal"
NAME = "localhost/totp-facade"
SERVICES = ["stytch.b2b.recovery_codes.v1.RecoveryCodesService", "stytch.b2b.totp.v1.TotpService"]


def main():
    prepare()
    work = fresh("release")
    with registry(work) as address:
        repository = f"{address}/rehearsal"
        digests = push(work / "digests", repository)
        digest = check_index(work / "digests", repository, digests)
        check_tags(repository, digest)
        check_pins(work / "Containerfile", repository, digest)
        check_chart(work / "chart", f"{address}/charts")
    archive = check_archive(work / "dist")
    check_documents(work / "documents", archive)
    print("rehearsed: images, index, tags, pins, chart, archive, documents; not: signatures, attestations, the release")


@contextmanager
def registry(work):
    """Runs a registry while the block runs; with its address."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    key, authority, settings = work / "key.pem", work / "authority.pem", work / "registry.json"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/"]
    run(*new, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", authority)
    http = {"addr": address, "tls": {"certificate": str(authority), "key": str(key)}}
    storage = {"filesystem": {"rootdirectory": str(work / "registry")}}
    settings.write_text(json.dumps({"version": "0.1", "storage": storage, "http": http}))
    ENV["SSL_CERT_FILE"] = str(authority)
    with process(port, "docker-registry", "serve", settings, log=work / "registry.log"):
        yield address


def push(folder, repository):
    """Pushes the image for two architectures; with their digests."""
    folder.mkdir()
    other = run("buildah", "from", "--pull-never", NAME)
    run("buildah", "config", "--arch", "arm64", other)
    run("buildah", "commit", "--quiet", "--rm", "--format", "docker", other, f"{NAME}:arm64")
    for architecture, image in [("x86_64", NAME), ("aarch64", f"{NAME}:arm64")]:
        target = f"docker://{repository}:unsigned-{architecture}"
        run("buildah", "push", "--quiet", "--digestfile", folder / architecture, image, target)
    return sorted(file.read_text() for file in folder.iterdir())


def check_index(folder, repository, digests):
    digest = run(".ci/release/index.sh", repository, folder)
    index = index_of(repository, "unsigned")
    check("the digest of the index", digest, f"sha256:{hashlib.sha256(index.encode()).hexdigest()}")
    manifests = json.loads(index)["manifests"]
    check("its images", sorted(it["digest"] for it in manifests), digests)
    check("its platforms", sorted(it["platform"]["architecture"] for it in manifests), ["amd64", "arm64"])
    check("tags before it is signed", tags_of(repository), ["unsigned", "unsigned-aarch64", "unsigned-x86_64"])
    return digest


def check_tags(repository, digest):
    before = tags_of(repository)
    run(".ci/release/tag.sh", repository, digest, VERSION)
    run(".ci/release/latest.sh", repository, digest, VERSION)
    check("tags after a pre-release", tags_of(repository), sorted([*before, VERSION]))
    run(".ci/release/latest.sh", repository, digest, "0.0.1")
    check("tags after a release", tags_of(repository), sorted([*before, VERSION, "latest"]))
    for tag in [VERSION, "latest"]:
        check(f"{tag} is it", index_of(repository, tag) == index_of(repository, "unsigned"), True)


def tags_of(repository):
    return sorted(json.loads(run("skopeo", "list-tags", f"docker://{repository}"))["Tags"])


def index_of(repository, tag):
    return run("skopeo", "inspect", "--raw", f"docker://{repository}:{tag}")


def check_pins(file, repository, digest):
    """With the index as what a Containerfile starts from."""
    file.write_text(f"ARG BUILDER={repository}:{VERSION}\nARG BASE={repository}:unsigned-x86_64\n")
    [builder, base] = run(".ci/release/pin.sh", file).splitlines()
    check("a pinned index", builder, f"builder={repository}@{digest}")
    check("a pinned image", base, f"base={repository}@{(file.parent / 'digests/x86_64').read_text()}")


def check_chart(folder, repository):
    """What Helm pulls by its version is what was packed, and only once the chart has the tag."""
    folder.mkdir()
    install_all()
    path = f"{TOOLS}:{os.environ['PATH']}"
    digest = run(".ci/release/chart.sh", repository, folder, PATH=path)
    version = re.search(r"^version: (\S+)$", (CHART / "Chart.yaml").read_text(), re.M)[1]
    chart = f"{repository}/totp-facade"
    untagged = subprocess.run(["skopeo", "list-tags", f"docker://{chart}"], env=ENV, capture_output=True, text=True)
    # So says the registry of a repository that has none.
    check("tags of the chart before it is signed", "404 (Not Found)" in untagged.stderr, True)
    run(".ci/release/tag.sh", chart, digest, version)
    check("its tags", tags_of(chart), [version])
    manifest = index_of(chart, version)
    check("the digest of the chart", digest, f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}")
    (pulled := folder / "pulled").mkdir()
    run(TOOLS / "helm", "pull", f"oci://{chart}", "--version", version, "--destination", pulled)
    [package] = pulled.iterdir()
    check("the chart, pulled", digest_of(open(package, "rb")), digest_of(open(folder / package.name, "rb")))


def check_archive(folder):
    """The archive has the program of the image, and is the same when it is made again. Returns its path."""
    [first, second] = [run(".ci/release/archive.sh", NAME, folder / name) for name in ("first", "second")]
    check("the archive, made again", digest_of(open(second, "rb")), digest_of(open(first, "rb")))
    with tarfile.open(first) as archive:
        names = {name.partition("/")[2]: name for name in archive.getnames()}
        expected = {"totp-facade", "LICENSE-MIT", "LICENSE-APACHE", "completions/totp-facade.bash", "man/totp-facade.1"}
        check("missing in the archive", sorted(expected - set(names)), [])
        program = archive.extractfile(names["totp-facade"])
        check("its program", digest_of(program), digest_of(open(FOLDER / "totp-facade", "rb")))
    return Path(first)


def check_documents(folder, archive):
    """The contract has the services, and the bill of materials what the program is made of."""
    version = re.search(r"totp-facade-(.+)-linux-", archive.name)[1]
    # The tool stays for the next time.
    tool = ROOT / "target/cyclonedx"
    path = f"{tool}/bin:{os.environ['PATH']}"
    run(".ci/release/documents.sh", version, archive.parent, folder, CARGO_INSTALL_ROOT=str(tool), PATH=path)
    contract, bill = folder / f"totp-facade-{version}.binpb", folder / f"totp-facade-{version}.cdx.json"
    check("the documents", sorted(it.name for it in folder.iterdir()), [contract.name, bill.name])
    services = run("grpcurl", "-protoset", contract, "list").split()
    check("services of the contract", [it for it in services if it.startswith("stytch.")], SERVICES)
    bill = json.loads(bill.read_text())
    names = {it["name"] for it in bill["components"]}
    check("missing in the bill of materials", sorted({"rustls", "tokio", "tonic"} - names), [])
    check("in it although only tests need it", sorted({"jsonschema", "proptest", "stytch"} & names), [])
    # What actions/attest wants of a bill.
    check("missing in its head", sorted({"bomFormat", "serialNumber", "specVersion"} - set(bill)), [])


def digest_of(file):
    return hashlib.sha256(file.read()).hexdigest()


main()
