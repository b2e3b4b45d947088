"""Replicas that are restarted or killed under load."""

import asyncio
import time

from expect import check, wait_until
from proxies.failures import statistic
from rolling.fates import Fates
from rolling.operations import Load

RATE = 300  # operations a second
# Twice what is open at that rate: a slow machine gets less load instead of calls that wait until their deadlines.
MOST_OPEN = 100
# Those that wait for the lease of a dead replica come on top.
MOST_OPEN_OF_KILLS = 400
QUIET = 1  # seconds before the first event, and after the last
STATISTICS = ["upstream_rq_retry", "upstream_rq_retry_overflow", "outlier_detection.ejections_enforced_total"]


async def under_load(world, what, most_open, action):
    """Runs an action, which takes the load; with what became of the operations."""
    world.stytch.executions.clear()
    before = statistics(world)
    load = Load(world.envoy.addr, RATE, most_open)
    await asyncio.sleep(QUIET)
    began = time.monotonic()
    await action(load)
    seconds = time.monotonic() - began
    await asyncio.sleep(QUIET)
    fates = Fates(await load.end(), world.stytch.executions)
    print(f"\n{what} in {seconds:.0f} s: {fates}")
    print("Envoy:", {name: after - before[name] for name, after in statistics(world).items()}, flush=True)
    return fates


def statistics(world):
    return {name: statistic(world.envoy, name) for name in STATISTICS}


async def rolls(world, count):
    """Every replica is restarted, one after the other, each once Envoy uses the other one again."""
    in_flight = []

    def all_serve():
        return statistic(world.envoy, "membership_healthy") == len(world.replicas)

    def roll(load):
        for number in range(1, count + 1):
            for replica in world.replicas:
                in_flight.append(load.open)
                replica.roll()
                wait_until(all_serve, "Envoy uses the replica again")
            if number % 10 == 0:
                print(f"{number} of {count} rolls", flush=True)

    fates = await under_load(world, f"{count} rolls", MOST_OPEN, lambda load: asyncio.to_thread(roll, load))
    check("rolls without a call in flight", in_flight.count(0), 0)
    fates.check_none_failed()
    fates.check_executions()


async def kills(world, count):
    """A replica is killed every second, in turns, and started anew at once."""

    async def kill(load):
        for number in range(count):
            replica = world.replicas[number % len(world.replicas)]
            await asyncio.to_thread(replica.kill)
            await asyncio.to_thread(replica.start)
            await asyncio.sleep(1 - time.monotonic() % 1)

    fates = await under_load(world, f"{count} kills", MOST_OPEN_OF_KILLS, kill)
    fates.check_some_failed(count)
    fates.check_explained()
    fates.check_executions()
    fates.check_ends()
