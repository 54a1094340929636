"""Whether a run that makes no steps is stuck: no step, and neither its processes nor its GPU do anything."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from kdengine.machine.sampling import KIND
from kdengine.workspace.rundir import RunDirectory, read_event
from kdengine.workspace.states import State

STALLED_AFTER_S = 60.0
IDLE_FOR_S = 120.0
# Below these nothing is at work: the heartbeat and the looks at the machine take less than a hundredth of a core.
IDLE_CORES, IDLE_GPU, IDLE_BYTES_PER_S = 0.05, 0.02, 100_000
TAIL_BYTES = 64 * 1024

Event = Mapping[str, Any]


def stalled(
    status: RunDirectory | Mapping[str, Any],
    now: float | None = None,
    limit_s: float = STALLED_AFTER_S,
    looks: Callable[[], Iterable[Event]] | None = None,
) -> bool:
    """Whether a run says it is running but is stuck; says nothing about whether its process lives.

    One that reports how busy it is (`kdengine.machine.sampling`) is stuck once it has made no step and was idle in
    every look for two minutes: compiling, downloading and a long epoch on the CPU are work. One that reports nothing,
    of an earlier version or frozen with its thread, is stuck ``limit_s`` seconds after its last step. Before the first
    step a run may have no ``progress_at``, and is not called stalled.

    Args:
        status: the run, or its status.
        looks: returns the run's last "system" events; by default of the run, where one is given.
    """
    if isinstance(status, RunDirectory):
        looks, status = looks or partial(last_looks, status), status.status()
    now = time.time() if now is None else now
    progress_at = status.get("progress_at")
    if status.get("state") != State.RUNNING or progress_at is None or now - progress_at <= limit_s:
        return False
    recent = [look for look in looks() if now - IDLE_FOR_S <= look["time"] <= now] if looks else []
    if not recent:
        return True
    return now - progress_at > IDLE_FOR_S and all(map(idle, recent))


def idle(look: Event) -> bool:
    """Whether neither the run's processes nor its GPU did anything; a GPU that others use too says nothing of it."""
    gpu = look.get("gpu") or {}
    computes = gpu.get("use", 0) >= IDLE_GPU and gpu.get("processes", 1) <= 1
    return look.get("cores", 0) < IDLE_CORES and look.get("io", 0) < IDLE_BYTES_PER_S and not computes


def last_looks(run: RunDirectory) -> list[dict[str, Any]]:
    """The "system" events in the last 64 KiB of a run's events."""
    try:
        with run.events_file.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.readlines()
    except FileNotFoundError:
        return []
    events = map(read_event, lines)
    return [event for event in events if event is not None and event["kind"] == KIND]
