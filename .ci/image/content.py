"""What is in the image: its settings and its files."""

from pathlib import Path

from expect import check
from image.tools import run

LARGEST = 64  # MiB
ADDED = ["/licenses/LICENSE-APACHE", "/licenses/LICENSE-MIT", "/totp-facade"]


def check_settings(config):
    """What an engine reads: user, command, ports, health, and where the image is from."""
    check("user", config["User"], "65532:65532")
    check("entry point", config["Entrypoint"], ["/totp-facade"])
    check("command", config["Cmd"], ["serve"])
    check("ports", sorted(config["ExposedPorts"]), ["50051/tcp", "9464/tcp"])
    check("stop signal", config["StopSignal"], "SIGTERM")
    check("health check", config["Healthcheck"]["Test"], ["CMD", "/totp-facade", "healthcheck"])
    settings = [it for it in config["Env"] if not it.startswith("PATH=")]
    check("environment", settings, ["TOTP_FACADE_ADMIN_ADDR=0.0.0.0:9464"])
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    check("revision", labels["revision"], run("git", "rev-parse", "HEAD"))
    check("licences", labels["licenses"], "MIT OR Apache-2.0")
    for name in ["base.name", "created", "description", "source", "title", "version"]:
        check(f"label {name}", bool(labels[name]), True)


def check_files(image, base_files):
    """Nothing but what was meant to be there, and no shell."""
    tree = Path(image.tree)
    found = {f"/{path.relative_to(tree)}": path for path in tree.rglob("*")}
    present = {name for name, path in found.items() if path.is_symlink() or not path.is_dir()}
    check("files on top of the base", sorted(present - base_files), ADDED)
    shells = {"ash", "bash", "busybox", "dash", "sh"}
    check("shells", [name for name in present if Path(name).name in shells], [])
    size = sum(found[name].lstat().st_size for name in present) / 2**20
    program = found["/totp-facade"].stat().st_size / 2**20
    check(f"{size:.1f} MiB, {program:.1f} of them the program; at most {LARGEST}", size <= LARGEST, True)
