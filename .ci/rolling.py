#!/usr/bin/env python3
"""Restarts and kills replicas under load: two of them, with Redis, behind the Envoy of deploy/envoy/caller.yaml.

    .ci/rolling.py [ROLLS [KILLS]]

A roll restarts one replica after the other as an orchestrator does; no call may fail. A kill is SIGKILL, one a second;
no call may be executed twice, and no failure may lack an explanation. docs/operations.md has the results.

Takes its tools from PATH: the Python packages of .ci/proxies/requirements.txt, which bring Envoy. Installs Redis from
Debian, which takes root.
"""

import asyncio
import sys

from rolling import events
from rolling.world import new_world

ROLLS, KILLS = 3, 10


async def main(rolls=ROLLS, kills=KILLS):
    async with new_world() as world:
        if rolls:
            await events.rolls(world, rolls)
        if kills:
            await events.kills(world, kills)


asyncio.run(main(*map(int, sys.argv[1:])))
