"""Where a comparison stands: for each of its runs the folder that holds it, and what is missing.

A run belongs to a comparison by its fingerprint alone, wherever it was started: what is finished is never run twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kdengine.comparison.plan import Cell, Plan, pinned
from kdengine.errors import DamagedFile
from kdengine.jobs import JobStore, dead_end, waits_in_vain
from kdengine.jobs.job import UNENDED
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import PREFIX, Imported, find
from kdengine.workspace import Workspace, files
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

MISSING = "missing"
MEASURED = "measured.json"


@dataclass(frozen=True)
class CellState:
    """One run of a comparison as it is now.

    Attributes:
        cell: arm, seed and experiment.
        state: of the run or job ("finished", "running", "queued", "failed", ...), or "missing".
        run: the folder of the run; None when there is none yet.
        message: why it failed or waits.
        blocked_by: id of the job that it waits for and that has ended without finishing; None for all others.
    """

    cell: Cell
    state: str
    run: RunDirectory | None = None
    message: str = ""
    blocked_by: str | None = None

    @property
    def finished(self) -> bool:
        """Whether its numbers are there."""
        return self.state == State.FINISHED


@dataclass(frozen=True)
class Progress:
    """All runs of a comparison, and the teacher that they share: its run or import (None while there is none)."""

    plan: Plan
    cells: tuple[CellState, ...]
    teacher: RunDirectory | Imported | None

    def of(self, arm: str) -> list[CellState]:
        """The runs of an arm, by seed."""
        return [state for state in self.cells if state.cell.arm == arm]

    def count(self, *states: str) -> int:
        """How many runs are in one of the states."""
        return sum(cell.state in states for cell in self.cells)

    @property
    def under_way(self) -> bool:
        """Whether some run is still to come by itself."""
        return any(cell.state in UNENDED and cell.blocked_by is None for cell in self.cells)

    @property
    def blocked(self) -> tuple[CellState, ...]:
        """Runs that wait for one that must be resumed first; their message says so."""
        return tuple(cell for cell in self.cells if cell.blocked_by is not None)


def progress(plan: Plan, workspace: Workspace) -> Progress:
    """Looks up every run of a plan."""
    return progress_of_all([plan], workspace)[0]


def progress_of_all(plans: Iterable[Plan], workspace: Workspace) -> list[Progress]:
    """The same for several plans, with one look at the runs of the workspace."""
    index = _Index(workspace)
    return [
        Progress(plan, tuple(index.state(cell) for cell in plan.cells), index.teacher(plan.teacher()))
        for plan in (pinned(plan, workspace) for plan in plans)
    ]


def measured(run: RunDirectory) -> dict[str, Any]:
    """What `kdengine.comparison.measure` wrote into the folder of a run; {} before that, and when it is damaged."""
    try:
        found: dict[str, Any] = files.read_json(run.path / MEASURED, {})
    except DamagedFile:
        return {}
    return found


def unmeasured(now: Progress) -> list[RunDirectory]:
    """Finished runs whose fidelity, size and latency are not known yet; the teacher's among them."""
    runs = [cell.run for cell in now.cells if cell.finished]
    teacher = now.teacher if isinstance(now.teacher, RunDirectory) else None
    return [run for run in [*runs, teacher] if run is not None and not measured(run)]


class _Index:
    """Runs and jobs of a workspace by fingerprint; of several with the same, the one that has come furthest."""

    ORDER = (State.FINISHED, State.RUNNING, State.STOPPING, State.STARTING, State.QUEUED)

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.jobs = {job.id: job for job in JobStore(workspace).jobs()}
        self.found: dict[str, tuple[str, RunDirectory]] = {}
        for run in workspace.list_runs():
            status = run.status()
            job = self.jobs.get(run.id)
            state = str(job.state) if job is not None else str(status.get("state", MISSING))
            fingerprint = status.get("fingerprint") or (job.fingerprint if job is not None else "")
            if fingerprint and self._came_further(fingerprint, state):
                self.found[fingerprint] = (state, run)

    def _came_further(self, fingerprint: str, state: str) -> bool:
        """The later of two runs of equal standing wins: they come in the order of their age."""
        known = self.found.get(fingerprint)
        return known is None or self._rank(state) <= self._rank(known[0])

    def _rank(self, state: str) -> int:
        return next((number for number, known in enumerate(self.ORDER) if known == state), len(self.ORDER))

    def state(self, cell: Cell) -> CellState:
        if cell.fingerprint not in self.found:
            return CellState(cell, MISSING)
        state, run = self.found[cell.fingerprint]
        job = self.jobs.get(run.id)
        awaited = dead_end(job, self.jobs) if job is not None else None
        if awaited is not None:
            return CellState(cell, state, run, waits_in_vain(awaited), awaited.id)
        message = (job.message if job is not None else None) or run.status().get("message") or ""
        return CellState(cell, state, run, str(message))

    def teacher(self, teacher: ExperimentSpec | str | None) -> RunDirectory | Imported | None:
        if isinstance(teacher, str) and teacher.startswith(PREFIX):
            return find(self.workspace, teacher.removeprefix(PREFIX))
        if isinstance(teacher, str):
            run = self.workspace.run(teacher)
            return run if run.student_file.is_file() else None
        if teacher is None:
            return None
        state, found = self.found.get(teacher.fingerprint(), (MISSING, None))
        return found if state == State.FINISHED else None
