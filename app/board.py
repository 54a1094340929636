"""What the Runs page knows: rows of the table and the whole of one run, read from job store and run folders."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from kdengine.jobs import Job, JobStore, stalled
from kdengine.rundir import RunDirectory
from kdengine.states import State
from kdengine.workspace import Workspace


@dataclass(frozen=True)
class Row:
    """One line of the table; accuracies are 0..1, times seconds."""

    id: str
    name: str
    kind: str
    state: State
    dataset: str
    method: str
    student: str
    teacher: str
    owner: str
    best: float | None
    test: float | None
    progress: str
    eta: float | None
    submitted: float
    seconds: float | None
    stalled: bool
    position: int | None


@dataclass(frozen=True)
class Detail:
    """What one run is and how it stands: read in milliseconds, however long the run is."""

    job: Job
    status: dict[str, Any]
    spec: dict[str, Any]
    command: str
    last_beat: float | None
    teacher_validation: float | None
    teacher_test: float | None
    size: int
    stalled: bool


@dataclass(frozen=True)
class Record:
    """What one run has logged: its epochs and steps in order, the last word on each, and the end of its log."""

    epochs: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    log: list[str]


class Board:
    """Reads the workspace for pages; keeps what it has parsed, so that a look costs only what is new.

    Args:
        workspace: whose jobs and runs are shown.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.store = JobStore(workspace)
        self._lock = threading.Lock()
        self._statuses: dict[str, tuple[int, dict[str, Any]]] = {}
        self._events: dict[str, _EventReader] = {}

    def rows(self) -> list[Row]:
        """All jobs: running, queued in queue order, ended (newest first)."""
        now = time.time()
        queued = 0
        rows = []
        for job in self.store.jobs():
            status = self.status(job.id)
            position = None
            if job.state == State.QUEUED:
                queued += 1
                position = queued
            rows.append(_row(job, status, position, now))
        return rows

    def trained(self) -> list[Row]:
        """Runs that have a trained network, in the order of `rows`; some are still training."""
        return [
            row for row in self.rows() if row.best is not None and row.state != State.QUEUED and row.kind != "study"
        ]

    def detail(self, run_id: str) -> Detail | None:
        """One run; None when there is no such job."""
        job = self.store.find(run_id)
        if job is None:
            return None
        run = self.workspace.run(run_id)
        status = self.status(run_id)
        teacher = self.status(status["teacher_run"]) if status.get("teacher_run") else {}
        try:
            spec = yaml.safe_load(run.spec_file.read_text())
            command = (run.path / "command.txt").read_text().strip()
        except FileNotFoundError:
            spec, command = {}, ""
        return Detail(
            job=job,
            status=status,
            spec=spec,
            command=command,
            last_beat=run.last_beat(),
            teacher_validation=teacher.get("best", {}).get("accuracy") or status.get("teacher_validation"),
            teacher_test=teacher.get("test", {}).get("best", {}).get("accuracy"),
            size=run.size() if job.state.ended else 0,
            stalled=_is_stalled(job, status, time.time()),
        )

    def record(self, run_id: str) -> Record:
        """What a run has logged; the first look at a long run takes a second, the next ones read what is new."""
        run = self.workspace.run(run_id)
        with self._lock:
            reader = self._reader(run)
            reader.catch_up()
            return Record(*reader.events(), run.log_tail(40))

    def unread(self, run_id: str) -> int:
        """Bytes of events that `record` has still to read."""
        return self._reader(self.workspace.run(run_id)).unread

    def status(self, run_id: str) -> dict[str, Any]:
        """A run's status.json, parsed again only when it was written again."""
        run = self.workspace.run(run_id)
        try:
            written = run.status_file.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        known = self._statuses.get(run_id)
        if known is None or known[0] != written:
            known = (written, run.status())
            self._statuses[run_id] = known
        return known[1]

    def _reader(self, run: RunDirectory) -> _EventReader:
        return self._events.setdefault(run.id, _EventReader(run))


class _EventReader:
    """Follows events.jsonl; keeps the last word on each epoch and step."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._offset = 0
        self._epochs: dict[int, dict[str, Any]] = {}
        self._steps: dict[int, dict[str, Any]] = {}
        self._sorted: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None

    def catch_up(self) -> None:
        try:
            with self.run.events_file.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._take(line)
        except FileNotFoundError:
            return

    @property
    def unread(self) -> int:
        try:
            return self.run.events_file.stat().st_size - self._offset
        except FileNotFoundError:
            return 0

    def _take(self, line: bytes) -> None:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        self._sorted = None
        if event.get("kind") == "epoch":
            self._epochs[event["epoch"]] = event
        elif event.get("kind") == "step":
            self._steps[event["step"]] = event

    def events(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The last word on each epoch, and on each step, in order."""
        if self._sorted is None:
            epochs, steps = ([known[key] for key in sorted(known)] for known in (self._epochs, self._steps))
            self._sorted = epochs, steps
        return self._sorted


def _is_stalled(job: Job, status: dict[str, Any], now: float) -> bool:
    return job.state == State.RUNNING and stalled(status, now)


def _row(job: Job, status: dict[str, Any], position: int | None, now: float) -> Row:
    at = status.get("progress") or {}
    active = job.state in (State.RUNNING, State.STARTING, State.STOPPING)
    progress = f"{at['epoch']}/{at['epochs']}" if at else ""
    if job.is_controller:
        progress = str(status.get("phase") or "")
    # A run started from a shell tells its times itself.
    started = job.started or status.get("started")
    ended = job.ended or (now if active else status.get("ended"))
    return Row(
        id=job.id,
        name=job.name,
        kind=job.kind,
        state=job.state,
        dataset=job.dataset,
        method=job.method,
        student=job.student,
        teacher=job.teacher,
        owner=job.owner,
        best=(status.get("best") or {}).get("accuracy"),
        test=((status.get("test") or {}).get("best") or {}).get("accuracy"),
        progress=progress,
        eta=status.get("eta_s") if active else None,
        submitted=job.submitted,
        seconds=ended - started if ended and started else None,
        stalled=_is_stalled(job, status, now),
        position=position,
    )
