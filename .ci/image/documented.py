"""What docs/operations.md shows for Docker: its settings and its health check, without Docker."""

import re
from ipaddress import ip_address

import yaml
from cryptography import x509

from authority import Authority
from facade import ROOT
from image.tools import FOLDER, fresh, run

PAGE = ROOT / "docs/operations.md"


def settings():
    """The variables of its `docker run`, where those that it takes over have a value."""
    [command] = re.findall(r"^docker run .*?^```", PAGE.read_text(), re.M | re.S)
    return {name: value or "project-test-1" for name, value in re.findall(r"--env (\w+)=?(\S*)", command)}


def health_check():
    """The command that its Compose file has."""
    [block] = re.findall(r"^```yaml\n(healthcheck:.*?)^```", PAGE.read_text(), re.M | re.S)
    return yaml.safe_load(block)["healthcheck"]["test"][1:]


def secrets():
    """The files that the variables name, as they are below /run; with a bearer token."""
    folder = fresh("mounted/secrets")
    (folder / "stytch").write_text("secret-test-1")
    printed = run(FOLDER / "totp-facade", "token", "login")
    token, line = re.fullmatch(r"token: (.+)\nline: (.+)", printed).groups()
    (folder / "tokens").write_text(f"{line}\n")
    authority = Authority(folder, "ca")
    authority.file.rename(folder / "ca.crt")
    authority.certify("tls", x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")))
    return folder.parent, token
