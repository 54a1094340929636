"""kill -9 of what steers, trains, reads and serves, at random moments, until the work is done.

Nobody starts anything again but the page server, as whoever runs a server sees to: it starts the supervisor, the
supervisor the controllers, and these their runs.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from world import World, reading_processes

from kdengine.jobs import Job
from kdengine.processes import is_alive
from kdengine.workspace.states import State

VICTIMS = ("controller", "trial", "supervisor", "page server", "reading process")


def running(world: World, *, controllers: bool = False) -> list[Job]:
    """Jobs at work: those that steer, or those that train."""
    return [job for job in world.store.jobs() if job.state is State.RUNNING and job.is_controller == controllers]


def kill(world: World, victim: str, generator: random.Random) -> bool:
    """Kills one process of that kind; False when there is none at this moment. Only a page is started again here."""
    if victim in ("supervisor", "page server"):
        done = world.kill(victim, "")
        if victim == "page server":
            world.victims[victim].revive()
        return done
    if victim == "reading process":
        readers = [pid for job in running(world) for pid in reading_processes(job.identity)]
        if readers:
            os.kill(generator.choice(readers), signal.SIGKILL)
        return bool(readers)
    found = running(world, controllers=victim == "controller")
    alive = [job for job in found if job.pid and is_alive(job.identity)]
    if not alive:
        return False
    os.kill(generator.choice(alive).pid or 0, signal.SIGKILL)
    return True


def hunt(
    world: World,
    begin: Callable[[], object],
    over: Callable[[], bool],
    kills: int,
    seed: str,
    longest_s: float,
) -> list[dict[str, Any]]:
    """Begins the work and kills, each kind in turn, until it is over; what was killed and when."""
    generator = random.Random(seed)
    world.victims["page server"].prepare()
    begin()
    order = [VICTIMS[number % len(VICTIMS)] for number in range(kills)]
    generator.shuffle(order)
    began, done = time.monotonic(), []
    while order and not over():
        time.sleep(generator.uniform(0, longest_s))
        if kill(world, order[0], generator):
            done.append({"victim": order.pop(0), "second": round(time.monotonic() - began, 1)})
    world.wait(over, "the end of the work")
    return done
