#!/usr/bin/env python3
"""Prints what a number of calls a second takes, from what `just footprint` has measured of one call.

docs/operations.md explains it. Put in your own numbers: `.ci/scale.py --help`.
"""

import argparse
from math import ceil

# Microseconds of CPU: of the façade for a call, and for its key in addition; of Envoy; of Redis for a call with a key.
CALL, KEY, ENVOY, REDIS = 150, 130, 155, 66
# Bytes: of the response from Stytch and to the caller, of its record in Redis, of the commands that make it, and of an
# audit event.
FROM_STYTCH, TO_CALLER, RECORD, TO_REDIS, EVENT = 7_700, 4_800, 5_240, 5_750, 520
# For a call with a key: one claims it, one records the outcome.
COMMANDS = 2
# TOTP_FACADE_MAX_IN_FLIGHT.
IN_FLIGHT = 1024
# Calls in flight on a connection of HTTP/2 to Stytch.
ON_A_CONNECTION = 100


def parse():
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--rates", type=int, nargs="+", default=[1_000, 100_000, 1_000_000], help="calls a second")
    add("--keyed", type=float, default=0.5, help="share of the calls that have an idempotency key")
    add("--latency", type=float, default=0.2, help="seconds that Stytch takes for a call")
    add("--http1", action="store_true", help="Stytch is reached over HTTP/1.1: each call in flight has a connection")
    add("--cores", type=int, default=2, help="CPUs of a replica, each with a worker thread")
    add("--ttl", type=int, default=600, help="TOTP_FACADE_IDEMPOTENCY_TTL in seconds")
    add("--use", type=float, default=0.5, help="how much of each limit to use")
    return parser.parse_args()


def of_a_replica(it):
    """The calls a second that each of its limits lets through."""
    limits = {
        "by CPU": it.cores * 1e6 / (CALL + it.keyed * KEY),
        "by calls in flight": IN_FLIGHT / it.latency,
    }
    return {name: limit * it.use for name, limit in limits.items()}


def sizes(rate, it):
    """What `rate` calls a second take."""
    in_flight, keyed = rate * it.latency, rate * it.keyed
    # One more than needed: one is being restarted, or has died.
    replicas = ceil(rate / min(of_a_replica(it).values())) + 1
    primaries = ceil(keyed * REDIS / 1e6 / it.use)
    # Each worker thread has one at least, and its last one need not be full.
    connections = replicas * it.cores * ceil(in_flight / replicas / it.cores / ON_A_CONNECTION)
    # Each worker thread has one, and the main thread, which is the worker where there is one CPU.
    to_a_primary = it.cores + 1 if it.cores > 1 else 1
    return {
        "replicas": replicas,
        "calls in flight": in_flight,
        "connections to Stytch": in_flight if it.http1 else connections,
        "cores, façade": ceil(rate * (CALL + it.keyed * KEY) / 1e6 / it.use),
        "cores, Envoy": ceil(rate * ENVOY / 1e6 / it.use),
        "Redis: primaries": primaries,
        "Redis: commands/s": keyed * COMMANDS,
        "Redis: connections": replicas * primaries * to_a_primary,
        "Redis: GB of records": keyed * it.ttl * RECORD / 1e9,
        "Redis: Gbit/s": keyed * TO_REDIS * 8 / 1e9,
        "from Stytch, Gbit/s": rate * FROM_STYTCH * 8 / 1e9,
        "to callers, Gbit/s": rate * TO_CALLER * 8 / 1e9,
        "audit trail, MB/s": rate * EVENT / 1e6,
    }


def text(value):
    return f"{value:,.2f}" if value < 10 and value != int(value) else f"{round(value):,}"


def main():
    it = parse()
    limits = of_a_replica(it)
    each = ", ".join(f"{text(limit)} {by}" for by, limit in limits.items())
    print(f"a replica takes {text(min(limits.values()))} calls/s: {each}")
    columns = [sizes(rate, it) for rate in it.rates]
    print(f"{'calls/s':22}" + "".join(f"{rate:>11,}" for rate in it.rates))
    for row in columns[0]:
        print(f"{row:22}" + "".join(f"{text(column[row]):>11}" for column in columns))


main()
