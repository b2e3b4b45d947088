"""Stand-ins for the two images that deploy/Containerfile starts from, where no image can be fetched."""

import os
import shutil
from pathlib import Path

from image.tools import FOLDER, fresh, run

# What distroless' cc has, but for libraries that the façade does not need.
PACKAGES = ["base-files", "ca-certificates", "libc6", "libgcc-s1", "tzdata"]
PASSWD = """root:x:0:0:root:/root:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
"""
GROUP = "root:x:0:\nnonroot:x:65532:\n"


def base():
    """The runtime's: Debian's packages unpacked, without a shell or a package manager; with its files."""
    packages, tree = fresh("packages"), fresh("base")
    packages.chmod(0o777)  # for apt's user
    download = f"apt-get -qq download {' '.join(PACKAGES)}"
    # Its lists may be old, or missing.
    run("sh", "-c", f"cd {packages} && ({download} || (apt-get update -qq && {download}))")
    for package in packages.glob("*.deb"):
        run("dpkg-deb", "--extract", package, tree)
    for unneeded in ["usr/bin", "usr/sbin", "usr/share/doc"]:
        shutil.rmtree(tree / unneeded)
    authorities = sorted((tree / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (tree / "etc/ssl/certs/ca-certificates.crt").write_text("".join(map(Path.read_text, authorities)))
    (tree / "etc/passwd").write_text(PASSWD)
    (tree / "etc/group").write_text(GROUP)
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")  # An engine writes it at each start.
    return image("base", tree), files(tree)


def builder():
    """The builder's: an empty tree, and the options that mount this machine's compilers into it."""
    tree = fresh("builder")
    for folder in ["bin", "lib", "lib64", "sbin"]:
        (tree / folder).symlink_to(f"usr/{folder}")
    folders = ["/etc/alternatives", "/etc/ssl"]
    folders += [f"/usr/{name}" for name in ["bin", "include", "lib", "lib64", "libexec", "share"]]
    mounts = {folder: folder for folder in folders}
    mounts[run("rustc", "--print", "sysroot")] = "/usr/local/rust"
    # How this machine reaches a registry is no part of the image.
    config = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "config.toml"
    mounts[str(config)] = "/usr/local/cargo/config.toml"
    name = image("builder", tree, "ENV PATH=/usr/local/rust/bin:/usr/bin CARGO_HOME=/usr/local/cargo HOME=/root")
    return name, [f"--volume={here}:{there}:ro" for here, there in mounts.items() if Path(here).exists()]


def image(name, tree, settings=""):
    file = FOLDER / f"{name}.Containerfile"
    file.write_text(f"FROM scratch\nADD . /\n{settings}\n")
    name = f"localhost/stand-in/{name}"
    run("buildah", "build", "--quiet", "--timestamp", "0", "--file", file, "--tag", name, tree)
    return name


def files(tree):
    """The paths of all files in a tree, as in the image."""
    return {f"/{path.relative_to(tree)}" for path in tree.rglob("*") if not path.is_dir() or path.is_symlink()}
