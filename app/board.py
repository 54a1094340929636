"""What the Runs page knows: rows of the table and the whole of one run, read from job store and run folders."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from app.event_reader import EventReader
from app.snapshot import Snapshot, read_snapshot
from kdengine.jobs import Job, JobStore, as_it_is, last_looks, stalled, supervisor_alive
from kdengine.jobs.job import RACE_PREFIX, STUDY_PREFIX
from kdengine.workspace import Workspace
from kdengine.workspace.annotations import Annotations, read_annotations
from kdengine.workspace.rundir import RUN_ID, RunDirectory, short_id
from kdengine.workspace.states import State

_Mark = tuple[int, int, int] | None
_Kept = TypeVar("_Kept")


PAGE_OF = {"comparison": "compare", "study": "studies", "race": "race"}
"""Of what has a page of its own: the page's path."""


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
    seed: int | None = None
    data: str = ""
    """The data set's name; of one's own images the name of their folder or archive."""
    tags: tuple[str, ...] = ()
    notes: str = ""
    study: str = ""
    trial: str = ""
    comparison: str = ""
    race: str = ""
    teacher_run: str = ""
    """The run whose network teaches; "" for none, and for one that is not known here."""

    @property
    def steers(self) -> str:
        """Address of the page of what a controller steers; "" for a run."""
        page = PAGE_OF.get(self.kind)
        return f"/{page}?name={quote(self.id.removeprefix(f'{self.kind}-'))}" if page else ""

    def called(self, accuracy: str) -> str:
        """One line that identifies it in a list; a name that a person gave comes first."""
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
    """Reads the workspace for pages; keeps what it has parsed, so that a refresh costs only what is new.

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
        self._events: dict[str, tuple[_Mark, EventReader]] = {}
        self._snapshots: dict[str, tuple[_Mark, Snapshot]] = {}
        self._annotations: dict[str, tuple[_Mark, Annotations]] = {}
        self._comparisons: set[str] = set()
        self._folders: dict[str, RunDirectory] = {}

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
            stuck = _is_stalled(self._run(job.id), job, status, now)
            row_of_job = _row(job, status, position, now, stuck, self._damage(job, status))
            rows.append(replace(row_of_job, **self._known_of(job, status, row_of_job.title)))
        return rows

    def trained(self) -> list[Row]:
        """Runs that have a trained network, in the order of `rows`; some are still training."""
        return [row for row in self.rows() if row.best is not None and row.state != State.QUEUED and not row.steers]

    def detail(self, run_id: str) -> Detail | None:
        """One run; None when there is no such job."""
        job = self.store.find(run_id)
        if job is None:
            return None
        run = self._run(run_id)
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
            stalled=_is_stalled(self._run(job.id), job, status, time.time()),
            damaged=self._damage(job, status),
        )

    def record(self, run_id: str) -> Record:
        """What a run has logged; the first call for a long run takes a second, the next ones read what is new."""
        run = self._run(run_id)
        with self._lock:
            reader = self._reader(run)
            reader.catch_up()
            return Record(*reader.events(), run.log_tail(40), list(reader.system), reader.unreadable)

    def unread(self, run_id: str) -> int:
        """Bytes of events that `record` has still to read."""
        return self._reader(self._run(run_id)).unread

    def status(self, run_id: str) -> dict[str, Any]:
        """A run's status.json, parsed again only when it was written again."""
        run = self._run(run_id)
        return _kept(self._statuses, run_id, run.status_file, run.status)

    def annotations(self, run_id: str) -> Annotations:
        """Name, tags and notes that a person gave a run."""
        run = self._run(run_id)
        return _kept(self._annotations, run_id, run.annotations_file, lambda: read_annotations(run))

    def _known_of(self, job: Job, status: dict[str, Any], title: str) -> dict[str, Any]:
        """What a row says beside its job and how far it has come: from spec, status and a person's notes."""
        run, said = self._run(job.id), self.annotations(job.id)
        snapshot = _kept(self._snapshots, job.id, run.spec_file, lambda: read_snapshot(run, job.dataset))
        study = job.id if job.kind == "study" else str(status.get("study") or "")
        return {
            "title": said.name or title,
            "tags": said.tags,
            "notes": said.notes,
            "seed": None if job.is_controller else snapshot.seed,
            "data": snapshot.data or job.dataset,
            "study": study.removeprefix(STUDY_PREFIX),
            "trial": str(status.get("trial", "")),
            "comparison": str(status.get("comparison") or "") or self._compared_as(job.title),
            "race": job.id.removeprefix(RACE_PREFIX) if job.kind == "race" else str(status.get("race") or ""),
            "teacher_run": str(status.get("teacher_run") or ""),
        }

    def _compared_as(self, title: str) -> str:
        """The comparison that a run of an earlier version was queued for, which names it first in the run's name."""
        name, colon, _ = title.partition(": ")
        return name if colon and self._has_comparison(name) else ""

    def _has_comparison(self, name: str) -> bool:
        if name not in self._comparisons:
            if not RUN_ID.match(name) or not (self.workspace.comparisons / name / "plan.yaml").is_file():
                return False
            self._comparisons.add(name)
        return True

    def _run(self, run_id: str) -> RunDirectory:
        """Kept: to put together the paths of a thousand runs takes a tenth of a second."""
        if run_id not in self._folders:
            self._folders[run_id] = self.workspace.run(run_id)
        return self._folders[run_id]

    def _teacher(self, status: dict[str, Any]) -> dict[str, Any]:
        """The status of the teacher's run; {} where none did, or its id cannot be one."""
        name = status.get("teacher_run")
        return self.status(name) if name and RUN_ID.match(name) else {}

    def _damage(self, job: Job, status: dict[str, Any]) -> str | None:
        run = self._run(job.id)
        marks = tuple(map(_mark, (run.status_file, run.spec_file, run.card_file, run.annotations_file)))
        known = self._damages.get(job.id)
        if known is None or known[0] != marks:
            known = (marks, run.damage(status))
            self._damages[job.id] = known
        return " ".join(filter(None, (job.damaged, known[1]))) or None

    def _reader(self, run: RunDirectory) -> EventReader:
        # The spec is written once, when the run is made.
        return _kept(self._events, run.id, run.spec_file, lambda: EventReader(run))


def _kept(known: dict[str, tuple[_Mark, _Kept]], run_id: str, file: Path, read: Callable[[], _Kept]) -> _Kept:
    """What was read of a run's file, read again only when the file was written again."""
    mark, found = _mark(file), known.get(run_id)
    if found is None or found[0] != mark:
        found = (mark, read())
        known[run_id] = found
    return found[1]


def _mark(path: Path) -> _Mark:
    """Changes whenever a file is replaced or written; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _accuracy(part: dict[str, Any] | None) -> float | None:
    return (part or {}).get("accuracy")


def _is_stalled(run: RunDirectory, job: Job, status: dict[str, Any], now: float) -> bool:
    looks = partial(last_looks, run)
    return job.state == State.RUNNING and stalled(status, now, looks=looks)


def _row(job: Job, status: dict[str, Any], position: int | None, now: float, stuck: bool, damaged: str | None) -> Row:
    at = status.get("progress") or {}
    active = job.state in (State.RUNNING, State.STARTING, State.STOPPING)
    progress = f"{at['epoch']}/{at['epochs']}" if "epoch" in at and "epochs" in at else ""
    if job.is_controller:
        progress = str(status.get("phase") or "")
    # A run started from a shell records its times itself.
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
