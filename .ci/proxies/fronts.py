"""Starts the proxies with the files of deploy/, each in front of all replicas."""

import shutil
from contextlib import contextmanager
from typing import NamedTuple

from envoy import ENVOY
from process import free_port, process
from proxies.places import edited


class Front(NamedTuple):
    """A proxy: where it is called, and how."""

    name: str
    addr: str
    # "plain", where Envoy has the caller's certificate, or "tls".
    how: str
    # Where Envoy tells about itself.
    admin: str = ""
    # It knows nothing of calls, and makes no statuses.
    passes_tls: bool = False

    @property
    def port(self):
        """As a replica has one, for a proxy in front of this one."""
        return int(self.addr.split(":")[1])


def tls_folder(folder, authority, identity):
    """A folder with a certificate, its key and the authority, by the names that they have in a mounted secret."""
    folder.mkdir()
    certificate, key = identity
    for source, name in [(certificate, "tls.crt"), (key, "tls.key"), (authority.file, "ca.crt")]:
        shutil.copy(source, folder / name)
    return folder


def endpoints(replicas):
    """How a line with the façade's host and port is repeated."""
    old = "address: totp-facade-headless, port_value: 50051"
    return old, [f"address: 127.0.0.1, port_value: {replica.port}" for replica in replicas]


def envoy(folder, text, port):
    config = folder / "envoy.yaml"
    config.write_text(text)
    return process(port, *ENVOY, "-c", config, log=folder / "envoy.log")


@contextmanager
def caller(folder, tls, replicas, changes={}):
    port, admin = free_port(), free_port()
    places = {
        "address: 127.0.0.1, port_value: 50051": f"address: 127.0.0.1, port_value: {port}",
        "port_value: 9901": f"port_value: {admin}",
        "/etc/envoy/tls": tls,
    }
    text = edited("envoy/caller.yaml", places | changes, endpoints(replicas))
    with envoy(folder, text, port):
        yield Front("Envoy beside a caller", f"127.0.0.1:{port}", "plain", f"http://127.0.0.1:{admin}")


@contextmanager
def sidecar(folder, tls, replica, changes={}):
    """Beside one replica."""
    port, admin = free_port(), free_port()
    places = {
        "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {port}",
        "address: 127.0.0.1, port_value: 50051": f"address: 127.0.0.1, port_value: {replica.port}",
        "port_value: 9902": f"port_value: {admin}",
        "/etc/envoy/tls": tls,
    }
    with envoy(folder, edited("envoy/sidecar.yaml", places | changes), port):
        yield Front("Envoy as a sidecar", f"127.0.0.1:{port}", "tls", f"http://127.0.0.1:{admin}")


@contextmanager
def edge(folder, tls, replicas, contract):
    port, admin = free_port(), free_port()
    places = {
        "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {port}",
        "port_value: 9903": f"port_value: {admin}",
        "/etc/envoy/tls": tls,
        "/etc/envoy/totp-facade.binpb": contract,
    }
    text = edited("envoy/edge.yaml", places, endpoints(replicas))
    with envoy(folder, text, port):
        yield Front("Envoy at an edge", f"127.0.0.1:{port}", "tls", f"http://127.0.0.1:{admin}")


@contextmanager
def nginx(folder, tls, replicas):
    port = free_port()
    servers = "totp-facade-headless:50051", [f"127.0.0.1:{replica.port}" for replica in replicas]
    places = {
        "listen 8443": f"listen 127.0.0.1:{port}",
        "/etc/nginx/tls": tls,
        "/var/log/nginx/error.log": folder / "error.log",
        "/run/nginx.pid": folder / "nginx.pid",
    }
    config = folder / "nginx.conf"
    config.write_text(edited("nginx/nginx.conf", places, servers))
    command = ["nginx", "-c", config, "-e", folder / "error.log", "-g", "daemon off;"]
    with process(port, *command, log=folder / "nginx.log"):
        yield Front("nginx", f"127.0.0.1:{port}", "tls")


@contextmanager
def haproxy(folder, replicas):
    port = free_port()
    one, two = (f"127.0.0.1:{replica.port} port {replica.admin}" for replica in replicas)
    places = {"bind :8443": f"bind 127.0.0.1:{port}", "totp-facade-0:50051": one, "totp-facade-1:50051": two}
    config = folder / "haproxy.cfg"
    config.write_text(edited("haproxy/haproxy.cfg", places))
    with process(port, "haproxy", "-db", "-f", config, log=folder / "haproxy.log"):
        yield Front("HAProxy", f"127.0.0.1:{port}", "tls", passes_tls=True)
