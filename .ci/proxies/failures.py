"""Replicas that restart, die or are slow, and what callers see of it through each proxy."""

import json
import threading
import time
import urllib.request
from functools import partial
from itertools import chain

from expect import PATIENCE, check, check_all, wait_until
from proxies.client import Outcome
from proxies.traffic import traffic
from sandbox import GET, ROTATE

OK = ("OK", None)
# A status that the façade did not make, and which says nothing about the call.
NOTHING_SAID = ("UNAVAILABLE", None)
UNKNOWN = ("UNKNOWN", None)


def together(*actions):
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def statistic(front, name):
    with urllib.request.urlopen(f"{front.admin}/stats?format=json", timeout=PATIENCE) as answer:
        values = {it["name"]: it.get("value") for it in json.load(answer)["stats"] if "name" in it}
    return values[f"cluster.totp-facade.{name}"]


def restart(world, replicas):
    """Starts replicas that were killed, and waits until every proxy uses them."""
    for replica in replicas:
        replica.start()
    for front in [*world.fronts, world.unmapped]:
        if front.admin:
            wait_until(lambda: statistic(front, "membership_healthy") == 2, f"{front.name} uses both replicas")
    for name, caller in world.callers.items():
        wait_until(lambda: all(caller.get().code == "OK" for _ in range(4)), f"calls through {name} succeed")


def rolling_restarts(world, rolls):
    """Every replica is restarted under load, one after the other: no call fails, and none is made twice."""
    world.stytch.rule(ROTATE, latency="150ms")

    def roll(pair):
        for _ in range(rolls):
            for replica in pair:
                replica.roll()

    with traffic(world.callers) as all_traffic:
        time.sleep(1)
        together(*(partial(roll, pair) for pair in world.pairs))
        time.sleep(1)
    for name, each in all_traffic.items():
        check(f"{name}: {2 * rolls} restarts, {len(each.calls)} calls, of which fail", each.failures(), {})
    changes = sum(each.changes for each in all_traffic.values())
    check(f"of {changes} calls that change something, Stytch got", world.stytch.asked(), changes)


def stytch_fails(world):
    """The façade says UNAVAILABLE for reads, and no proxy takes a replica out for it."""
    world.stytch.rule(GET, status=503)
    found = {name: {caller.get().code for _ in range(5)} for name, caller in world.callers.items()}
    check_all("Stytch fails", found, dict.fromkeys(found, {"UNAVAILABLE"}))
    world.stytch.rules()
    for front in [world.caller, world.edge]:
        ejected = statistic(front, "outlier_detection.ejections_enforced_total")
        check(f"{front.name}: ejected, healthy", (ejected, statistic(front, "membership_healthy")), (0, 2))
    # The circuit breakers of the façades close again.
    restart(world, [])


def a_replica_dies(world):
    """Reads that were in flight are retried at the other replica, further calls go there, and it is left out."""
    # Long enough to kill it meanwhile, and shorter than what Envoy gives an attempt, which is 5 s.
    world.stytch.rule(GET, latency="3s")
    reads = [world.callers[world.caller.name].starts_get() for _ in range(8)]
    wait_until(lambda: world.stytch.asked() == len(reads), "Stytch has all reads")
    dead = [pair[0] for pair in world.pairs]
    for replica in dead:
        replica.kill()
    found = {}

    # At once, before health checks have seen anything.
    def change(name, caller):
        found[name] = [caller.rotate().facts() for _ in range(20)]

    together(*(partial(change, name, caller) for name, caller in world.callers.items()))
    check_all("a replica is dead, and no further call fails", found, dict.fromkeys(found, [OK] * 20))
    check(f"{world.caller.name}: reads in flight", {Outcome(call).facts() for call in reads}, {OK})
    check("  of which were retried", world.stytch.asked() > len(reads), True)
    world.stytch.rules()
    for front in [world.caller, world.edge]:
        wait_until(lambda: statistic(front, "membership_healthy") == 1, f"{front.name} leaves the replica out")
    print("ok: health checks leave it out", flush=True)
    unchecked = [world.call(world.unchecked).rotate().facts() for _ in range(20)]
    ejections = statistic(world.unchecked, "outlier_detection.ejections_enforced_consecutive_local_origin_failure")
    # It is let in again after 5 s, and then left out once more.
    check("so does outlier detection, alone", (ejections > 0, set(unchecked)), (True, {OK}))
    restart(world, dead)


def all_replicas_die(world):
    """A call that was sent has an unknown outcome. One that was not sent is UNAVAILABLE, and may be retried."""
    # Long enough to kill them meanwhile, and shorter than what the façade gives Stytch, which is 10 s.
    world.stytch.rule(ROTATE, latency="8s")
    calls = {name: caller.starts_rotate() for name, caller in world.callers.items()}
    wait_until(lambda: world.stytch.asked() == len(calls), "Stytch has all calls")
    everyone = list(chain(*world.pairs))
    for replica in everyone:
        replica.kill()
    outcomes = {name: Outcome(call) for name, call in calls.items()}
    found = {name: (*it.facts(), it.metadata.get("grpc-retry-pushback-ms")) for name, it in outcomes.items()}
    # What passes TLS through leaves the status to the caller's library, as it is without a proxy.
    expected = {it.name: (*NOTHING_SAID, None) if it.passes_tls else (*UNKNOWN, "-1") for it in world.fronts}
    check_all("the connection broke after the call was sent", found, expected)
    found = {name: caller.rotate().facts() for name, caller in world.callers.items()}
    check_all("no replica is there", found, dict.fromkeys(found, NOTHING_SAID))
    check("Stytch was called once for each", world.stytch.asked(), len(calls))
    world.stytch.rules()


def the_proxy_gives_up(world):
    """Where a proxy stops waiting, the outcome is unknown. With its own settings, the façade stops before."""
    for replica in chain(*world.pairs):
        replica.settings["TOTP_FACADE_UPSTREAM_TIMEOUT"] = "40s"
    restart(world, chain(*world.pairs))
    world.stytch.rule(ROTATE, latency="30s")
    calls = {it.name: world.callers[it.name].starts_rotate() for it in world.fronts if not it.passes_tls}
    found = {name: Outcome(call).facts() for name, call in calls.items()}
    check_all("the proxy gives up", found, dict.fromkeys(calls, UNKNOWN))
    check("Stytch was called once for each", world.stytch.asked(), len(calls))


def the_trap_of_two_proxies(world):
    """A sidecar without our local_reply_config says UNAVAILABLE when the connection to the façade breaks, and the Envoy
    of the caller makes the call again: its default retries, which are Istio's too, are not safe there."""
    # Long enough to kill a replica meanwhile.
    world.stytch.rule(ROTATE, latency="5s")
    calls = [world.call(world.unmapped).starts_rotate() for _ in range(8)]
    wait_until(lambda: world.stytch.asked() == len(calls), "Stytch has all calls")
    world.behind_sidecars[0].kill()
    check("two proxies, and the sidecar's errors as they are", {Outcome(call).facts() for call in calls}, {OK})
    check("  calls were made twice", world.stytch.asked() > len(calls), True)
    world.stytch.rules()
    restart(world, world.behind_sidecars[:1])
