"""What the Runs page knows: rows of the table and the whole of one run, read from job store and run folders."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from kdengine.jobs import Job, JobStore, as_it_is, last_looks, stalled, supervisor_alive
from kdengine.rundir import RUN_ID, RunDirectory, short_id
from kdengine.states import State
from kdengine.workspace import Workspace

_Mark = tuple[int, int, int] | None


@dataclass(frozen=True)
class Row:
    """One line of the table; accuracies are 0..1, times seconds."""

    id: str
    name: str
    title: str
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
    damaged: str | None = None
    """What of the run cannot be read, and what to do about it."""

    def called(self, accuracy: str) -> str:
        """One line that tells it from the others in a list; a name that a person gave comes first."""
        what = f"{self.student}, {self.method}, {self.dataset}: {accuracy} [{short_id(self.id)}]"
        return f"{self.title} · {what}" if self.title else what


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
    damaged: str | None = None
    """What of the run cannot be read, and what to do about it."""


@dataclass(frozen=True)
class Record:
    """What one run has logged: its epochs and steps in order, the last word on each, the end of its log, and how busy
    the machine was meanwhile ("system" events, as they came)."""

    epochs: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    log: list[str]
    system: list[dict[str, Any]] = field(default_factory=list)
    unreadable: int = 0
    """Lines of events.jsonl that are no events and are left out; a crash may cut one short."""


class Board:
    """Reads the workspace for pages; keeps what it has parsed, so that a look costs only what is new.

    Args:
        workspace: whose jobs and runs are shown.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.store = JobStore(workspace)
        self._lock = threading.Lock()
        # Each is kept with a mark of the files it was read from: an id may be used again, and a file replaced.
        self._statuses: dict[str, tuple[_Mark, dict[str, Any]]] = {}
        self._damages: dict[str, tuple[tuple[_Mark, ...], str]] = {}
        self._events: dict[str, tuple[_Mark, _EventReader]] = {}

    def rows(self) -> list[Row]:
        """All jobs: running, queued in queue order, ended (newest first)."""
        now = time.time()
        queued = 0
        rows = []
        watched = supervisor_alive(self.workspace)
        for row in self.store.jobs():
            status = self.status(row.id)
            job = row if watched else as_it_is(row, status, self.workspace.root)
            position = None
            if job.state == State.QUEUED:
                queued += 1
                position = queued
            stuck = _is_stalled(self.workspace, job, status, now)
            rows.append(_row(job, status, position, now, stuck, self._damage(job, status)))
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
        if not supervisor_alive(self.workspace):
            job = as_it_is(job, status, self.workspace.root)
        teacher, gone = self._teacher(status), status.get("teacher_deleted") or {}
        return Detail(
            job=job,
            status=status,
            spec=run.spec_or_nothing(),
            command=run.command(),
            last_beat=run.last_beat(),
            teacher_validation=_accuracy(teacher.get("best"))
            or status.get("teacher_validation")
            or gone.get("validation"),
            teacher_test=_accuracy((teacher.get("test") or {}).get("best")) or gone.get("test"),
            size=run.size() if job.state.ended else 0,
            stalled=_is_stalled(self.workspace, job, status, time.time()),
            damaged=self._damage(job, status),
        )

    def record(self, run_id: str) -> Record:
        """What a run has logged; the first look at a long run takes a second, the next ones read what is new."""
        run = self.workspace.run(run_id)
        with self._lock:
            reader = self._reader(run)
            reader.catch_up()
            return Record(*reader.events(), run.log_tail(40), list(reader.system), reader.unreadable)

    def unread(self, run_id: str) -> int:
        """Bytes of events that `record` has still to read."""
        return self._reader(self.workspace.run(run_id)).unread

    def status(self, run_id: str) -> dict[str, Any]:
        """A run's status.json, parsed again only when it was written again."""
        run = self.workspace.run(run_id)
        mark = _mark(run.status_file)
        known = self._statuses.get(run_id)
        if known is None or known[0] != mark:
            known = (mark, run.status())
            self._statuses[run_id] = known
        return known[1]

    def _teacher(self, status: dict[str, Any]) -> dict[str, Any]:
        """The status of the run that taught; {} where none did, or its id cannot be one."""
        name = status.get("teacher_run")
        return self.status(name) if name and RUN_ID.match(name) else {}

    def _damage(self, job: Job, status: dict[str, Any]) -> str | None:
        run = self.workspace.run(job.id)
        marks = tuple(map(_mark, (run.status_file, run.spec_file, run.card_file)))
        known = self._damages.get(job.id)
        if known is None or known[0] != marks:
            known = (marks, run.damage(status))
            self._damages[job.id] = known
        return " ".join(filter(None, (job.damaged, known[1]))) or None

    def _reader(self, run: RunDirectory) -> _EventReader:
        mark = _mark(run.spec_file)  # written once, when the run is made
        known = self._events.get(run.id)
        if known is None or known[0] != mark:
            known = (mark, _EventReader(run))
            self._events[run.id] = known
        return known[1]


def _mark(path: Path) -> _Mark:
    """Changes whenever a file is replaced or written; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _accuracy(part: dict[str, Any] | None) -> float | None:
    return (part or {}).get("accuracy")


class _EventReader:
    """Follows events.jsonl; keeps the last word on each epoch and step."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._offset = 0
        self._epochs: dict[int, dict[str, Any]] = {}
        self._steps: dict[int, dict[str, Any]] = {}
        self._sorted: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None
        self.system: list[dict[str, Any]] = []
        self.unreadable = 0

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
            if event["kind"] == "system":
                self.system.append(event | {"time": float(event["time"])})
                return
            places = {"epoch": self._epochs, "step": self._steps}
            if event["kind"] in places:
                places[event["kind"]][int(event[event["kind"]])] = event
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            self.unreadable += bool(line.strip())
            return
        self._sorted = None

    def events(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The last word on each epoch, and on each step, in order."""
        if self._sorted is None:
            epochs, steps = ([known[key] for key in sorted(known)] for known in (self._epochs, self._steps))
            self._sorted = epochs, steps
        return self._sorted


def _is_stalled(workspace: Workspace, job: Job, status: dict[str, Any], now: float) -> bool:
    looks = partial(last_looks, workspace.run(job.id))
    return job.state == State.RUNNING and stalled(status, now, looks=looks)


def _row(job: Job, status: dict[str, Any], position: int | None, now: float, stuck: bool, damaged: str | None) -> Row:
    at = status.get("progress") or {}
    active = job.state in (State.RUNNING, State.STARTING, State.STOPPING)
    progress = f"{at['epoch']}/{at['epochs']}" if "epoch" in at and "epochs" in at else ""
    if job.is_controller:
        progress = str(status.get("phase") or "")
    # A run started from a shell tells its times itself.
    started = job.started or status.get("started")
    ended = job.ended or (now if active else status.get("ended"))
    return Row(
        id=job.id,
        name=job.name,
        title=job.title,
        kind=job.kind,
        state=job.state,
        dataset=job.dataset,
        method=job.method,
        student=job.student,
        teacher=job.teacher,
        owner=job.owner,
        best=_accuracy(status.get("best")),
        test=_accuracy((status.get("test") or {}).get("best")),
        progress=progress,
        eta=status.get("eta_s") if active else None,
        submitted=job.submitted,
        seconds=ended - started if ended and started else None,
        stalled=stuck,
        position=position,
        damaged=damaged,
    )
