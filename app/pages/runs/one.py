"""What the components of one chosen run show: which buttons there are, its curves, log and settings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from app import text
from app.board import Board, Detail, Record
from kdengine.figures.run_curves import run_curves
from kdengine.workspace.annotations import Annotations
from kdengine.workspace.states import State

BUTTONS = ("stop", "kill", "resume", "accept", "up", "down", "clone", "inspect", "demo", "delete")


def buttons(detail: Detail | None) -> list[bool]:
    """Which of `BUTTONS` are there."""
    if detail is None:
        return [False] * len(BUTTONS)
    state = detail.job.state
    if detail.job.is_controller:  # its own page resumes it: more than its job has to be taken up again
        return [state in (State.STARTING, State.RUNNING, State.QUEUED), state == State.STOPPING, *[False] * 8]
    active = state in (State.STARTING, State.RUNNING)
    has_student = bool(detail.status.get("best"))
    queued = state == State.QUEUED
    return [
        active or queued,
        state == State.STOPPING,
        state.resumable,
        state.resumable and detail.job.reason == "data_changed",
        queued,
        queued,
        bool(detail.spec),
        has_student,
        has_student,
        state.ended,
    ]


def exportable(detail: Detail | None) -> tuple[bool, bool]:
    """Whether there is a student to take away, and whether it has early exits."""
    test = (detail.status.get("test") or {}) if detail and detail.job.state == State.FINISHED else {}
    return bool(test), bool(set(test) - {"best", "last"})


def length(run_id: str, record: Record) -> tuple[str, int, int]:
    """What curves are drawn of: another for every event that came."""
    return run_id, len(record.epochs), len(record.steps)


class Drawing(NamedTuple):
    """How curves are drawn: the kind of the loss ("weighted" or "raw"), smoothing (0 to below 1), its axis."""

    kind: str = "weighted"
    smoothing: float = 0.0
    log: bool = False


def curves(detail: Detail, record: Record, how: Drawing) -> Any:
    """All curves of the run."""
    return run_curves(
        record.epochs,
        record.steps,
        label=detail.job.id,
        teacher=detail.teacher_validation,
        planned=(detail.spec.get("recipe") or {}).get("epochs"),
        weighted=how.kind == "weighted",
        smoothing=min(0.99, max(0.0, how.smoothing)),
        log=how.log,
    )


def noted(said: Annotations | None) -> list[str]:
    """What a person wrote about the run: name, tags with commas in between, notes."""
    said = said or Annotations()
    return [said.name, ", ".join(said.tags), said.notes]


def log(record: Record) -> str:
    """The end of the log, as HTML."""
    said = text.escape("\n".join(record.log)) or "Nothing yet."
    return f'<div class="kd-log"><pre tabindex="0" aria-label="Log"><span>{said}</span></pre></div>'


def settings(detail: Detail | None) -> tuple[str, str]:
    """The command, and the experiment as YAML."""
    if detail is None:
        return "", ""
    return detail.command, yaml.safe_dump(detail.spec, sort_keys=False)


def log_copy(board: Board, run_id: str) -> str | None:
    """A copy of the log in Gradio's own folder: the workspace itself is never served."""
    file = board.workspace.run(run_id).log_file if run_id else None
    if file is None or not file.is_file():
        return None
    target = Path(tempfile.mkdtemp(prefix="kd-log-")) / f"{run_id}.log.txt"
    shutil.copyfile(file, target)
    return str(target)
