"""One row of the queue: what a job is, and what a person reads about it in the table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import yaml

from kdengine.workspace import files
from kdengine.workspace.states import State

ACTIVE = frozenset({State.STARTING, State.RUNNING, State.STOPPING})
UNENDED = ACTIVE | {State.QUEUED}
ENDED = frozenset(state for state in State if state.ended)

# Controllers only wait for other jobs: were they to take a slot, one slot would be a deadlock.
CONTROLLER_KINDS = frozenset({"study", "race"})
STUDY_PREFIX, RACE_PREFIX = "study-", "race-"
"""The job of a study or race, and its folder, are called by its name after this."""


_NUMBERS = (
    *("position", "pid", "create_time", "submitted", "started", "ended", "exit_code", "stopping_since"),
    *("attempt", "retries"),
)


@dataclass(frozen=True)
class JobLabels:
    """Words for the table, passed beside the spec so that this room need not understand it."""

    name: str
    kind: str = "train"
    dataset: str = ""
    method: str = ""
    student: str = ""
    teacher: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Job:
    """A row as it was when read. Times are seconds since the epoch; a job's id is its run's id.

    ``request`` is what somebody asked of a running job ("stop", "kill" or None); ``stopping_since`` starts the
    countdown of the grace period. ``reason``, ``message`` and ``advice`` say how it ended, or why a queued one waits.
    ``attempt`` counts starts, ``retries`` those that nobody asked for. ``slot`` is where it runs ("gpu:0", "cpu:0"),
    ``device`` its ``CUDA_VISIBLE_DEVICES``, ``workspace`` the one its process works for (``rundir.home_identity``),
    which in a copy is another one. ``damaged`` says what of the row could not be read, "" where all could.
    ``start_token`` is None for a run started from a shell, ``token`` is the form's,
    ``told``, a column of jobs.db, whether its end was announced.
    """

    id: str
    name: str
    state: State
    kind: str
    dataset: str
    method: str
    student: str
    teacher: str
    owner: str
    fingerprint: str
    position: float
    after: str | None
    slot: str | None
    device: str | None
    pid: int | None
    create_time: float | None
    boot_id: str | None
    workspace: str | None
    start_token: str | None
    submitted: float
    started: float | None
    ended: float | None
    exit_code: int | None
    reason: str | None
    message: str | None
    advice: str | None
    request: str | None
    stopping_since: float | None
    attempt: int
    retries: int
    told: bool
    token: str | None
    note: str
    tags: tuple[str, ...]
    damaged: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """(pid, create time, boot id, workspace) of the process, as ``rundir.works_for`` takes it; pid None when
        unknown."""
        names = ("pid", "create_time", "boot_id", "workspace")
        return {name: getattr(self, name) for name in names}

    @property
    def title(self) -> str:
        """The name that a person gave; "" where it is called by its id or by what it is made of."""
        made_of = f"{self.teacher} → {self.student}" if self.teacher else self.student
        return "" if self.name in (self.id, f"{self.method} · {made_of}") else self.name

    @property
    def is_controller(self) -> bool:
        """Whether the job only steers other jobs and takes no slot."""
        return self.kind in CONTROLLER_KINDS

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Job:
        """Reads a database row. One that holds what it cannot hold is ``damaged``, in words, and counts as lost."""
        values = {field.name: row[field.name] for field in fields(cls) if field.name != "damaged"}
        wrong = [name for name in _NUMBERS if not isinstance(row[name], int | float | None)]
        values |= dict.fromkeys(wrong, 0)
        try:
            tags = tuple(map(str, json.loads(row["tags"])))
        except (ValueError, TypeError):
            wrong, tags = [*wrong, "tags"], ()
        known = row["state"] in set(State)
        wrong += [] if known else ["state"]
        state = State(row["state"]) if known else State.LOST
        return cls(**values | {"state": state, "told": bool(row["told"]), "tags": tags, "damaged": _damage(row, wrong)})


def _damage(row: Mapping[str, Any], wrong: list[str]) -> str:
    """What is wrong with a row, and what to do; "" when nothing is."""
    if not wrong:
        return ""
    found = ", ".join(f"{row[name]!r} as {name}" for name in wrong)
    return f"its row in jobs.db is damaged: found {found}. `kd jobs resume {row['id']}` repairs it, or delete the run."


def labels_of_spec(spec_yaml: str, run_id: str) -> JobLabels:
    """Labels read from a spec as plain YAML; whatever is not there stays empty. Never raises."""
    try:
        spec = files.read_yaml(spec_yaml)
    except yaml.YAMLError:
        spec = None
    spec = spec if isinstance(spec, dict) else {}
    # A controller's folder holds its plan: a kind, and the experiment that it varies.
    kind = _text(spec.get("kind"))
    if kind in CONTROLLER_KINDS and isinstance(spec.get("experiment"), dict):
        return replace(labels_of_spec(yaml.safe_dump(spec["experiment"]), run_id), kind=kind, name=run_id)
    return JobLabels(
        name=_text(spec.get("title")) or run_id,
        dataset=_named(spec.get("data")),
        method=_named(spec.get("method")),
        student=_named(spec.get("student")),
        teacher=_teacher(spec.get("teacher")),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _named(part: Any) -> str:
    return _text(part.get("name")) if isinstance(part, dict) else _text(part)


def _teacher(part: Any) -> str:
    """`{run: ID}`, `{import: NAME}`, `{spec: {...}}` (its student becomes the teacher), or a plain name."""
    if not isinstance(part, dict):
        return _text(part)
    if isinstance(part.get("spec"), dict):
        return _named(part["spec"].get("student"))
    return _text(part.get("run")) or _text(part.get("import")) or _text(part.get("name"))
