"""Stuck or at work: a run without steps is called stalled when it does nothing, and not while it does something."""

from __future__ import annotations

from typing import Any

import pytest

from kdengine.jobs import stalled
from kdengine.workspace.rundir import RunDirectory

NOW = 1_000_000.0


def look(age: float, **changes: Any) -> dict[str, Any]:
    return {"kind": "system", "time": NOW - age, "cores": 0.01, "io": 200, "cpu": 0.5} | changes


def every(seconds: int, **changes: Any) -> list[dict[str, Any]]:
    """A look each five seconds of the last ones."""
    return [look(age, **changes) for age in range(seconds, 0, -5)]


IDLE_GPU = {"use": 0.0, "processes": 1}
BUSY_GPU = {"use": 0.97, "processes": 1}


@pytest.mark.parametrize(
    ("what", "silent", "looks", "expected"),
    [
        ("a step a moment ago", 30, every(300), False),
        ("idle for a minute and a half", 90, every(90), False),
        ("idle for minutes", 200, every(200), True),
        ("idle for minutes, its GPU too", 200, every(200, gpu=IDLE_GPU), True),
        ("compiling", 600, every(600, cores=1.9), False),
        ("downloading", 600, every(600, cores=0.02, io=3_000_000), False),
        ("a long epoch on the GPU", 600, every(600, gpu=BUSY_GPU), False),
        ("idle beside another on its GPU", 600, every(600, gpu=BUSY_GPU | {"processes": 2}), True),
        ("idle for a minute after work", 200, [*every(200, cores=1.0)[:-12], *every(60)], False),
        ("worked long ago, idle since", 600, [*every(600, cores=1.0)[:-60], *every(300)], True),
        ("frozen: it does not even look", 200, [look(180, cores=2.0)], True),
        ("an earlier version, after a minute", 61, [], True),
        ("an earlier version, before", 59, [], False),
    ],
)
def test_stalled(house: Any, what: str, silent: float, looks: list[dict[str, Any]], expected: bool) -> None:
    house.submit("a")
    run: RunDirectory = house.workspace.run("a")
    run.update_status(state="running", progress_at=NOW - silent)
    for event in looks:
        run.append_event(event)
    assert stalled(run, NOW) is expected, what
    assert not stalled({"state": "finished", "progress_at": 0}, NOW, looks=lambda: looks)


def test_only_the_end_of_a_long_record_is_read(house: Any) -> None:
    house.submit("a")
    run: RunDirectory = house.workspace.run("a")
    run.update_status(state="running", progress_at=NOW - 600)
    run.append_event({"kind": "step", "step": 1, "words": "x" * 100_000})
    for event in every(150):
        run.append_event(event)
    assert stalled(run, NOW)
    run.append_event(look(1, cores=1.0))
    assert not stalled(run, NOW)
