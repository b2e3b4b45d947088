"""Everything that runs at once: the sandbox, Redis, six replicas and all proxies in front of them."""

import subprocess
from ipaddress import ip_address

from cryptography import x509

from authority import Authority
from facade import PROGRAM
from proxies import fronts
from proxies.client import Caller
from proxies.replicas import LOGIN, SUPPORT, callers, redis, replicas
from sandbox import sandbox

LOCALHOST = x509.IPAddress(ip_address("127.0.0.1"))
NAME = x509.DNSName("totp-facade")


class World:
    def __init__(self, folder, stack):
        self.folder, self.enter = folder, stack.enter_context
        self.authority = Authority(folder, "authority")
        self.server = self.authority.certify("server", NAME, LOCALHOST)
        self.login = self.authority.certify("login", x509.UniformResourceIdentifier(LOGIN))
        self.support = self.authority.certify("support", x509.UniformResourceIdentifier(SUPPORT))
        self.stytch = self.enter(sandbox())
        self.start_replicas()
        self.start_meshes()
        self.start_edges()
        self.fronts = [self.caller, self.mesh, self.edge, self.nginx, self.haproxy]
        self.callers = {front.name: self.call(front) for front in self.fronts}

    def start_replicas(self):
        """A pair for each way in which the façade learns who calls."""
        store = {"TOTP_FACADE_IDEMPOTENCY_URL": self.enter(redis(self.folder))}
        settings = callers(self.folder) | self.stytch.settings | store
        certificate, key = self.server
        tls = {"TOTP_FACADE_TLS_CERT_FILE": certificate, "TOTP_FACADE_TLS_KEY_FILE": key,
               "TOTP_FACADE_TLS_CLIENT_CA_FILE": self.authority.file}
        trusting = {"TOTP_FACADE_TRUST_XFCC_FROM": "127.0.0.1"}
        # By the caller's certificate or token.
        self.behind_callers = self.enter(replicas(2, **settings, **tls))
        # By tokens. These would believe what an edge says of certificates, so that it must not say what callers claim.
        self.behind_edges = self.enter(replicas(2, **settings, **tls, **trusting))
        # By the certificate that the sidecar forwards.
        self.behind_sidecars = self.enter(replicas(2, **settings, **trusting))
        self.pairs = [self.behind_callers, self.behind_edges, self.behind_sidecars]

    def start_meshes(self):
        """Envoys beside callers, which call the façade itself, and others that call its sidecars."""
        self.server_files = fronts.tls_folder(self.folder / "server-files", self.authority, self.server)
        login = fronts.tls_folder(self.folder / "login-files", self.authority, self.login)
        support = fronts.tls_folder(self.folder / "support-files", self.authority, self.support)
        self.caller = self.envoy("caller", login, self.behind_callers)
        self.support_caller = self.envoy("support-caller", support, self.behind_callers)
        seldom = {"interval: 0.5s": "interval: 600s"}
        self.unchecked = self.envoy("unchecked", login, self.behind_callers, seldom)
        self.sidecars = self.start_sidecars("sidecar")
        mesh = self.envoy("mesh", login, self.sidecars)
        self.mesh = mesh._replace(name="Envoy beside caller and façade")
        as_it_is = self.start_sidecars("unmapped-sidecar", {"flags: [UC, UR, UT]": "flags: [NR]"})
        self.unmapped = self.envoy("unmapped", login, as_it_is)

    def start_sidecars(self, name, changes={}):
        return [self.enter(fronts.sidecar(self.folder_of(f"{name}-{at}"), self.server_files, replica, changes))
                for at, replica in enumerate(self.behind_sidecars)]

    def start_edges(self):
        # As docs/proxies.md says.
        self.contract = self.folder / "totp-facade.binpb"
        contract = subprocess.run([PROGRAM, "contract"], check=True, stdout=subprocess.PIPE)
        self.contract.write_bytes(contract.stdout)
        behind = self.server_files, self.behind_edges
        self.edge = self.enter(fronts.edge(self.folder_of("edge"), *behind, self.contract))
        self.nginx = self.enter(fronts.nginx(self.folder_of("nginx"), *behind))
        self.haproxy = self.enter(fronts.haproxy(self.folder_of("haproxy"), self.behind_callers))

    def envoy(self, name, identity, upstreams, changes={}):
        return self.enter(fronts.caller(self.folder_of(name), identity, upstreams, changes))

    def folder_of(self, name):
        folder = self.folder / name
        folder.mkdir()
        return folder

    def call(self, front, who="login"):
        """A caller with its token, or behind its own Envoy."""
        return Caller(front, self.authority, token=None if front.how == "plain" else who)
