#!/usr/bin/env python3
"""Measures what a Create costs the façade, Envoy and Redis, for the figures of .ci/scale.py.

Takes the tools that .ci/rolling.py takes. CPU is the time that processes have used, in the kernel or not. What else the
machine does adds up to a third, so take the lowest of several runs.
"""

import asyncio
import os
import subprocess
from pathlib import Path

from prometheus import get
from proxies.failures import statistic
from rolling.attempt import KEY, NO_KEY
from rolling.operations import Load, Operation
from rolling.world import new_world

STREAMS = 64  # calls in flight
WARM_UP, WINDOW = 2, 10  # seconds
TICK = 1e6 / os.sysconf("SC_CLK_TCK")  # microseconds


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def memory(pid):
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return round(int(line.split()[1]) / 1024)


def child(name):
    """The process of that name that this one has started."""
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return int(pid)
    raise LookupError(name)


class Counters:
    """What has been counted so far, by process."""

    def __init__(self, world):
        self.world = world
        self.pids = {"façade": [replica.process.pid for replica in world.replicas],
                     "Envoy": [child("envoy")], "Redis": [child("redis-server")]}

    def redis(self, *command):
        command = ["redis-cli", "-u", self.world.redis, *command]
        return subprocess.run(command, text=True, check=True, capture_output=True).stdout

    def now(self):
        info = dict(line.split(":", 1) for line in self.redis("INFO", "everything").splitlines() if ":" in line)
        evals = info.get("cmdstat_eval", "calls=0").split(",")[0]
        cpus = {f"µs of CPU, {name}": sum(map(cpu, pids)) for name, pids in self.pids.items()}
        return cpus | {
            "bytes from the façade": statistic(self.world.envoy, "upstream_cx_rx_bytes_total"),
            "bytes to Redis": int(info["total_net_input_bytes"]),
            "EVAL": int(evals.removeprefix("calls=")),
        }

    def held(self):
        """What there is at present."""
        record = self.redis("RANDOMKEY").strip()
        return {f"MiB, {name}": [*map(memory, pids)] for name, pids in self.pids.items()} | {
            "bytes of a record": int(self.redis("MEMORY", "USAGE", record)) if record else 0,
            # Without that of redis-cli.
            "connections to Redis": self.redis("CLIENT", "LIST").count("\n") - 1,
            "connections from Envoy": statistic(self.world.envoy, "upstream_cx_active"),
            "connections to Stytch": [*map(open_to_stytch, self.world.replicas)],
        }


def open_to_stytch(replica):
    lines = get(f"http://127.0.0.1:{replica.admin}/metrics").splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith("totp_facade_upstream_connections_open ")]
    return round(float(value))


class Callers:
    """Calls in a closed loop."""

    def __init__(self, call):
        self.call, self.count = call, 0
        self.tasks = [asyncio.create_task(self.run(number)) for number in range(STREAMS)]

    async def run(self, number):
        while True:
            operation = Operation(f"member-{number}-{self.count}", *self.call)
            await operation.run()
            if operation.last.code != "OK":
                raise RuntimeError(f"a call fails: {operation.last}")
            self.count += 1

    async def calls_in(self, seconds):
        before = self.count
        done, _ = await asyncio.wait(self.tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return self.count - before

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


async def measure(world, kind, call):
    counters, callers = Counters(world), Callers((kind, *call))
    await callers.calls_in(WARM_UP)
    begin = counters.now()
    calls = await callers.calls_in(WINDOW)
    end = counters.now()
    print(f"\nCreate {kind}, {calls / WINDOW:.0f} calls/s. A call:")
    for name in begin:
        print(f"  {(end[name] - begin[name]) / calls:.0f} {name}")
    print("In all:")
    for name, value in counters.held().items():
        print(f"  {value} {name}", flush=True)
    await callers.end()


async def main():
    async with new_world() as world:
        world.stytch.slowest = 0.01
        load = Load(world.envoy.addr, rate=0, most_open=0)
        create = load.mix[0][1:]
        for kind in [NO_KEY, KEY]:
            await measure(world, kind, create)
        await load.end()


asyncio.run(main())
