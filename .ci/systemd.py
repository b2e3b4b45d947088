#!/usr/bin/env python3
"""Holds the units of deploy/systemd to systemd's own judgement, then installs them as docs/operations.md says on a
systemd that is booted for it in namespaces, and uses them: callers of several users, restarts under load, a crash, a
hang, a bad setting.

Needs root and Debian's systemd; a façade in target/debug.
"""

import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).with_name("systemd")))

from expect import check, wait_until
from facade import PROGRAM, ROOT
from machine import machine
from process import free_port
from sandbox import sandbox

UNITS = [ROOT / f"deploy/systemd/totp-facade.{kind}" for kind in ("service", "socket")]
SERVICE, SOCKET = "totp-facade.service", "totp-facade.socket"
ADDR = "unix:/run/totp-facade/grpc.sock"
# In tenths.
MAX_EXPOSURE = 30
GROUP = "totp-facade-callers"
LOGIN, OTHER, STRANGER = 5001, 5002, 5003
POLICY = f"""
[[caller]]
name = "login"
identities = ["unix:{LOGIN}"]
methods = ["TotpService/*", "RecoveryCodesService/*"]
"""


def security():
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={MAX_EXPOSURE}",
        "--no-pager",
        UNITS[0],
    ]
    done = subprocess.run(command, text=True, capture_output=True)
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    check("exposure within the limit", done.returncode, 0)
    print(f"ok: exposure {found[1]} of 10, at most {MAX_EXPOSURE / 10}")


def install(it, folder, secret):
    """Types what the page says."""
    page = (ROOT / "docs/operations.md").read_text()
    section = page[page.index("\n## systemd\n") :]
    steps = re.search(r"^```sh\n(.*?)^```", section, re.M | re.S)[1]
    (folder / "totp-facade").symlink_to(PROGRAM)
    (folder / "deploy").symlink_to(ROOT / "deploy")
    it.run("sh", "-euc", f"cd {folder}\n{steps}", input=secret)


def show(it, name):
    return it.run("systemctl", "show", "--value", "--property", name, SERVICE)


def call(it, user, *command, groups=GROUP):
    """Calls as a user of the machine. Returns how it ends."""
    ids = (
        ["--organization-id", "example-works", "--member-id", "enrolled"]
        if command[0] != "healthcheck"
        else []
    )
    return it.try_run(
        "/usr/local/bin/totp-facade", *command, "--addr", ADDR, *ids, user=user, groups=groups
    )


def get(it, user, **who):
    return call(it, user, "recovery-codes", "get", **who)


def succeeds(it, what):
    code, said = get(it, LOGIN)
    if code != 0:
        status = it.try_run("systemctl", "status", "--no-pager", SERVICE, SOCKET)[1]
        sys.exit(f"{what}: {said}\n{status}\n{it.try_run('cat', '/run/stderr')[1]}")
    print(f"ok: {what}")


def callers(it):
    succeeds(it, "a member of the group starts the service by a call")
    check("the service", show(it, "ActiveState"), "active")
    code, said = get(it, OTHER)
    check(
        "another member, whom the policy does not name",
        (code, "UNAUTHENTICATED" in said),
        (1, True),
    )
    code, said = call(it, STRANGER, "healthcheck", groups="")
    check("a user outside the group", (code, "Permission denied" in said), (1, True))
    check("its health, for a member", call(it, OTHER, "healthcheck")[1].strip(), "SERVING")


def restarts(it, count=3):
    """Restarts the service while calls arrive on new connections. None may fail."""
    stop, results = threading.Event(), []

    def keep_calling():
        while not stop.is_set():
            results.append(get(it, LOGIN))

    threads = [threading.Thread(target=keep_calling) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        it.run("systemctl", "restart", SERVICE)
        time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    failed = [said for code, said in results if code != 0]
    check(f"{count} restarts, {len(results)} calls, those that failed", failed, [])


def ends(it, signal, result):
    """The service is started again after this signal."""
    before = show(it, "MainPID")
    it.run("systemctl", "kill", f"--signal={signal}", SERVICE)
    wait_until(
        lambda: show(it, "MainPID") not in (before, "0"), f"it is started again after {signal}"
    )
    wait_until(lambda: show(it, "ActiveState") == "active", "it serves again")
    succeeds(it, f"after {signal}, {result}")


def bad_setting(it, environment):
    it.write("/etc/totp-facade/environment", environment + "TOTP_FACADE_MAX_IN_FLIGHT=none\n")
    code, _ = it.try_run("systemctl", "restart", SERVICE)
    check("a restart with a bad setting fails", code != 0, True)
    # Longer than RestartSec=, after which a try would show.
    time.sleep(3)
    state = [show(it, name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
    check("a bad setting, which is not retried", state, ["failed", "64", "0"])
    check("a caller then", call(it, LOGIN, "healthcheck")[0], 1)
    wait_until(
        lambda: it.try_run("systemctl", "is-active", SOCKET)[1].strip() == "failed",
        "the socket has failed",
    )
    # Only now, so that no start that the caller has caused succeeds meanwhile.
    it.write("/etc/totp-facade/environment", environment)
    # systemd counts the calls that start the service over two seconds, and more would fail the socket again.
    time.sleep(3)
    it.run("systemctl", "reset-failed", SERVICE)
    it.run("systemctl", "restart", SOCKET)
    succeeds(it, "the setting is fixed")


def main():
    security()
    log = tempfile.TemporaryFile("w+")
    with sandbox() as stytch, machine(
        log
    ) as it, tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        install(it, Path(folder), stytch.settings["STYTCH_SECRET"])
        environment = (
            f"STYTCH_PROJECT_ID={stytch.settings['STYTCH_PROJECT_ID']}\nSTYTCH_BASE_URL={stytch.url}\n"
            f"TOTP_FACADE_ADMIN_ADDR=127.0.0.1:{free_port()}\n"
            "TOTP_FACADE_CALLERS_FILE=/etc/totp-facade/callers.toml\n"
        )
        it.write("/etc/totp-facade/environment", environment)
        it.write("/etc/totp-facade/callers.toml", POLICY)
        for part in ("service", "socket"):
            found = it.try_run(
                "systemd-analyze", "verify", f"/etc/systemd/system/totp-facade.{part}"
            )
            check(f"systemd-analyze verify, {part}", found, (0, ""))
        # There is no journal on this machine, and a hang need not last for half a minute.
        it.run("mkdir", "-p", f"/run/systemd/system/{SERVICE}.d")
        it.write(
            f"/run/systemd/system/{SERVICE}.d/check.conf",
            "[Service]\nStandardOutput=append:/run/stdout\nStandardError=append:/run/stderr\nWatchdogSec=10\n",
        )
        it.run("systemctl", "daemon-reload")
        callers(it)
        restarts(it)
        ends(it, "KILL", "a crash")
        ends(it, "STOP", "a hang, which the watchdog finds")
        stderr = it.run("cat", "/run/stderr")
        warnings = [
            line for line in stderr.splitlines() if '"WARN"' in line and "call refused" not in line
        ]
        check("what the service warns of in its confinement", warnings, [])
        bad_setting(it, environment)
    print("ok: systemd")


main()
