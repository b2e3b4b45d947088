"""What stands around the calls: Stytch, Redis, two replicas, and the Envoy of deploy/envoy/caller.yaml."""

import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509

import debian
from authority import Authority
from proxies import fronts
from proxies.replicas import LOGIN, callers, redis, replicas
from rolling.stytch import stytch


class World:
    """Where each of them is."""

    async def enter(self, stack, folder):
        authority = Authority(folder, "authority")
        names = [x509.DNSName("totp-facade"), x509.IPAddress(ip_address("127.0.0.1"))]
        certificate, key = authority.certify("server", *names)
        self.stytch = await stack.enter_async_context(stytch())
        self.redis = stack.enter_context(redis(folder))
        settings = {
            "TOTP_FACADE_IDEMPOTENCY_URL": self.redis,
            "TOTP_FACADE_TLS_CERT_FILE": certificate,
            "TOTP_FACADE_TLS_KEY_FILE": key,
            "TOTP_FACADE_TLS_CLIENT_CA_FILE": authority.file,
        }
        self.replicas = stack.enter_context(replicas(2, **callers(folder), **self.stytch.settings, **settings))
        login = authority.certify("login", x509.UniformResourceIdentifier(LOGIN))
        files = fronts.tls_folder(folder / "login-files", authority, login)
        self.envoy = stack.enter_context(fronts.caller(folder, files, self.replicas))


@asynccontextmanager
async def new_world():
    debian.install("rolling")
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            world = World()
            await world.enter(stack, Path(folder))
            yield world
