"""How the image runs: its start, its health, its end."""

import re
import time
from pathlib import Path

from expect import check
from image import documented
from image.contained import entered
from image.tools import FOLDER
from process import end, first_lines

STYTCH = {"STYTCH_PROJECT_ID": "project-test-1", "STYTCH_SECRET": "secret-test-1"}
MEMBER = ["--organization-id", "example-works", "--member-id", "fresh"]
READY = "import urllib.request as it; print(it.urlopen('http://127.0.0.1:9464/readyz').status)"


def check_ends(image):
    """It runs on a read-only root, and says what it lacks."""
    code, printed = image.run("--version")
    version = image.config["Labels"]["org.opencontainers.image.version"]
    check("--version", (code, printed), (0, f"totp-facade {version}\n"))
    code, printed = image.run()
    check("without credentials", (code, "STYTCH_SECRET" in printed), (64, True))
    code, printed = image.run("serve", TOTP_FACADE_GRPC_ADDR="0.0.0.0:50051", **STYTCH)
    check("beyond loopback without authentication", code, 64)


def check_serves(image):
    """It serves, is healthy by the image's own check, and drains."""
    health = image.config["Healthcheck"]["Test"][1:]
    for arguments in [["serve"], ["dev", "--log", "warn"]]:
        started = time.monotonic()
        with image.running(*arguments, **(STYTCH if arguments == ["serve"] else {})) as process:
            [line] = first_lines(process, 1)
            took = (time.monotonic() - started) * 1000
            check(f"{arguments[0]} after {took:.0f} ms", "listening on" in line, True)
            check_confined(process)
            check("the health check", image.inside(process, *health), (0, "SERVING"))
            check_calls(arguments[0], process)
            check("exit after SIGTERM", end(process), 0)


def check_confined(process):
    """What the other checks rely on: neither root nor a way to write."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    check("user and group ids", re.findall(r"^[UG]id:\s+(\d+)", status, re.M), ["65532", "65532"])
    mounts = [line.split() for line in Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()]
    [options] = {mount[5].split(",")[0] for mount in mounts if mount[4] == "/"}
    check("root file system", options, "ro")


def check_calls(mode, process):
    """Calls from outside the container."""
    check("readiness from outside", entered(process, "python3", "-c", READY), (0, "200"))
    if mode == "dev":
        code, printed = entered(process, FOLDER / "totp-facade", "create", *MEMBER)
        check("a call from outside", (code, '"secret"' in printed), (0, True))


def check_documented(image):
    """With the settings that the documents have for Docker, it serves callers with tokens over TLS, and is healthy."""
    folder, token = documented.secrets()
    with image.running(at_run=folder, **documented.settings()) as process:
        check("with TLS and tokens", first_lines(process, 1), ["grpc listening on 0.0.0.0:50051\n"])
        check("the documented health check", image.inside(process, *documented.health_check()), (0, "SERVING"))
        call = [FOLDER / "totp-facade", "create", *MEMBER]
        call += ["--addr", "https://localhost:50051", "--ca-file", folder / "secrets/ca.crt"]
        code, printed = entered(process, *call)
        check("a call without a token", (code, "UNAUTHENTICATED" in printed), (1, True))
        code, printed = entered(process, "env", f"TOTP_FACADE_TOKEN={token}", *call)
        check("one with a token, where Stytch is out of reach", (code, "UNAVAILABLE" in printed), (1, True))
