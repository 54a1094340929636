"""What can be said of a job beside its row: that its process is gone though nobody noticed, that it waits in vain."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdengine.jobs.failures import ADVICE, Failure, left_behind
from kdengine.jobs.job import ACTIVE, Job
from kdengine.workspace.identity import home_path, same_home, works_for
from kdengine.workspace.states import State

# How long a process that was just started may take to be named in its row.
UNSEEN_START_S = 10.0
UNWATCHED = Failure("lost", "its process ended while no supervisor was at work", ADVICE["lost"])


def as_it_is(job: Job, status: Mapping[str, Any], home: Path) -> Job:
    """A job as it is now, for readers while no supervisor is at work, which keeps the rows true otherwise.

    Args:
        job: as its row says.
        status: of its run.
        home: root of the workspace.

    Returns:
        The job itself, or, where its process is gone, one that has ended as its run says, else as lost.
    """
    if job.state not in ACTIVE:
        return job
    said = State(status.get("state") or State.STARTING)
    if said.ended and job.start_token in (None, status.get("start_token")) and "damaged" not in status:
        words: dict[str, Any] = {key: status.get(key) for key in ("reason", "message", "advice", "exit_code")}
        return replace(job, state=said, ended=status.get("ended"), **words)
    if not same_home(job.workspace, home):
        return _ended(job, left_behind(home_path(job.workspace or "")))
    young = job.pid is None and time.time() - (job.started or 0) < UNSEEN_START_S
    if young or works_for(job.identity, home) or works_for(status.get("process") or {}, home):
        return job
    return _ended(job, UNWATCHED)


def dead_end(job: Job, jobs: Mapping[str, Job]) -> Job | None:
    """The job that a queued one waits for and that will not finish by itself, if need be through others; else None.

    Args:
        job: that may wait.
        jobs: all jobs by id.
    """
    seen: set[str] = set()
    while job.state is State.QUEUED and job.after is not None and job.after in jobs and job.id not in seen:
        seen.add(job.id)
        job = jobs[job.after]
    return job if seen and job.state.ended and job.state is not State.FINISHED else None


def waits_in_vain(awaited: Job) -> str:
    """Why a job waits for one that has ended without finishing, and what to do."""
    why = f": {awaited.message}" if awaited.message and awaited.state is not State.STOPPED else ""
    how = "was stopped" if awaited.state is State.STOPPED else f"is {awaited.state}{why}"
    return f"waits for {awaited.id}, which {how}; `kd jobs resume {awaited.id}` lets both go on"


def _ended(job: Job, failure: Failure) -> Job:
    return replace(job, state=failure.state, **failure._asdict())
