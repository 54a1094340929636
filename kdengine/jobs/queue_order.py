"""The order of what is queued."""

from __future__ import annotations

import sqlite3

from kdengine.errors import BadInput, Problem
from kdengine.jobs.database import select
from kdengine.workspace.states import State


def queued_ids(db: sqlite3.Connection) -> list[str]:
    """Ids of the queued jobs, the next one first."""
    return [row["id"] for row in db.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY position")]


def write_order(db: sqlite3.Connection, queue: list[str]) -> None:
    """Numbers the queue anew."""
    for position, job_id in enumerate(queue):
        db.execute("UPDATE jobs SET position = ? WHERE id = ?", [position, job_id])


def last_position(db: sqlite3.Connection) -> float:
    """Position of the last job."""
    found: float = db.execute("SELECT COALESCE(MAX(position), 0) FROM jobs").fetchone()[0]
    return found


def check_after(db: sqlite3.Connection, after: str | None) -> None:
    """Raises BadInput for a job to wait for that is unknown or can never finish; None is fine."""
    if after is None:
        return
    job = select(db, after)
    if job is None:
        raise BadInput(Problem("after", f"there is no job {after!r} to wait for (was it deleted?)"))
    if job.state.ended and job.state is not State.FINISHED:
        raise BadInput(
            Problem("after", f"{after!r} is {job.state} and will not finish by itself; resume that one first")
        )
