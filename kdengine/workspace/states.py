"""The states of a run, and what MLflow and Optuna call each: the one table that maps them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a run stands. A resumed run is RUNNING again, with a higher ``attempt``."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    PRUNED = "pruned"
    FAILED = "failed"
    LOST = "lost"
    FINISHED = "finished"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless somebody resumes the run."""
        return self in ENDED

    @property
    def resumable(self) -> bool:
        """Whether resuming makes sense (a checkpoint may or may not exist; without one it starts over)."""
        return self in (State.STOPPED, State.FAILED, State.LOST)


class Elsewhere(NamedTuple):
    """The names of one state in MLflow (``RunStatus``) and Optuna (``TrialState``)."""

    mlflow: str
    optuna: str


ELSEWHERE: dict[State, Elsewhere] = {
    State.QUEUED: Elsewhere("SCHEDULED", "WAITING"),
    State.STARTING: Elsewhere("RUNNING", "RUNNING"),
    State.RUNNING: Elsewhere("RUNNING", "RUNNING"),
    State.STOPPING: Elsewhere("RUNNING", "RUNNING"),
    State.STOPPED: Elsewhere("KILLED", "FAIL"),
    State.PRUNED: Elsewhere("FINISHED", "PRUNED"),
    State.FAILED: Elsewhere("FAILED", "FAIL"),
    State.LOST: Elsewhere("FAILED", "FAIL"),
    State.FINISHED: Elsewhere("FINISHED", "COMPLETE"),
}

ENDED = frozenset({State.STOPPED, State.PRUNED, State.FAILED, State.LOST, State.FINISHED})
