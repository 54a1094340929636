"""The folder of one run: its immutable spec, its status, its events, its files. Knows neither torch nor databases.

Layout::

    runs/<id>/spec.yaml  command.txt  environment.json  choices.json  status.json  events.jsonl  log.txt  heartbeat
              checkpoints/  student.safetensors  last.safetensors  method.safetensors  model_card.json  inspection/
              mlflow.json  annotations.json
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

from kdengine.errors import BadInput, DamagedFile, KdError, Problem
from kdengine.workspace import files
from kdengine.workspace.states import State

# What lists, pages and the supervisor rely on when they read a status; a part may also be missing or null.
_PARTS: Mapping[str, Any] = (
    dict.fromkeys(("progress", "best", "validation", "test", "test.best", "process", "teacher_deleted"), dict)
    | dict.fromkeys(
        ("state", "phase", "reason", "message", "advice", "fingerprint", "teacher_run", "kind", "lacking"), str
    )
    | {"weights_of_long_runs": list}
    | dict.fromkeys(("created", "started", "ended", "progress_at", "eta_s", "attempt", "exit_code"), (int, float))
    | dict.fromkeys(("progress.epoch", "progress.epochs", "progress.step", "progress.steps"), (int, float))
    | dict.fromkeys(("best.accuracy", "best.epoch", "test.best.accuracy", "teacher_validation"), (int, float))
)
# In a status: whether the run goes on with whatever its data are when it starts next.
ACCEPTS_CHANGED_DATA = "accepts_changed_data"
RUN_ID = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_STATUS_ADVICE = (
    "`kd jobs resume {id}` writes it anew, unless the run has finished; then put back a copy of the file, or delete "
    "the run."
)
_SPEC_ADVICE = "Put back a copy of the file, or delete the run: without it nothing can be done with the run."
_ANNOTATIONS_ADVICE = "Put back a copy of the file, or write name, tags and notes anew: the old file is kept beside it."
_CARD_ADVICE = "Put back a copy of the file, or train the run anew: without it its network cannot be used."


def new_run_id(label: str, runs: Path) -> str:
    """A fresh run id: time, a label (method or role), four random hex digits. Sorts by time.

    Args:
        label: anything; what a folder's name cannot hold becomes a dash.
        runs: the folder of all runs. Of a hundred that are queued in one second two would often draw the same digits.
    """
    label = re.sub(r"[^A-Za-z0-9_.]+", "-", label)[:32]
    while (runs / (found := f"{datetime.now():%Y%m%d-%H%M%S}-{label}-{secrets.token_hex(2)}")).exists():
        continue
    return found


def short_id(run_id: str) -> str:
    """A run id as people distinguish runs: its last four characters."""
    return run_id[-4:]


def read_event(line: bytes) -> dict[str, Any] | None:
    """The event on a line of events.jsonl, with ``kind`` and ``time``; None for what is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        return None
    return event if isinstance(event.get("time"), int | float) else None


def _trouble(read: Callable[[], object], advice: str) -> str:
    """What a reader says against its file, and the advice; "" when it is well, or not there."""
    try:
        read()
    except FileNotFoundError:
        return ""
    except DamagedFile as error:
        return f"{error}. {advice}"
    return ""


class RunDirectory:
    """One run's folder. Every write is atomic; readers may look at any time.

    Args:
        path: the folder; its name is the run id. Raises BadInput when the name is not a valid run id.
    """

    def __init__(self, path: Path) -> None:
        if not RUN_ID.match(path.name):
            raise BadInput(
                Problem("run", f"{path.name!r} is not a run id (letters, digits, '.', '_', '-', 64 at most)")
            )
        self.path = path
        self.id = path.name
        self.home = path.parent.parent
        self.spec_file = path / "spec.yaml"
        self.status_file = path / "status.json"
        self.events_file = path / "events.jsonl"
        self.log_file = path / "log.txt"
        self.heartbeat_file = path / "heartbeat"
        self.checkpoints = path / "checkpoints"
        self.last_checkpoint = self.checkpoints / "last.pt"
        self.student_file = path / "student.safetensors"
        self.last_student_file = path / "last.safetensors"
        self.method_file = path / "method.safetensors"
        self.card_file = path / "model_card.json"
        self.choices_file = path / "choices.json"
        self.annotations_file = path / "annotations.json"

    @property
    def exists(self) -> bool:
        """Whether a run was ever created here."""
        return self.spec_file.is_file()

    @property
    def half_made(self) -> bool:
        """Whether a crash left the folder without its spec, which is written last; `create` then completes it."""
        made_before = {"checkpoints", "command.txt", "environment.json", "status.json", ".status.lock"}
        names = {path.name for path in self.path.iterdir() if path.suffix != ".tmp"} if self.path.is_dir() else set()
        return self.path.is_dir() and not self.exists and names <= made_before

    def create(self, spec_yaml: str, command: str, environment: dict[str, Any] | None = None) -> None:
        """Makes the folder with its immutable snapshot; raises BadInput when the run exists already."""
        if self.exists:
            raise BadInput(Problem("run", f"the run {self.id!r} exists already; choose another id or resume it"))
        with files.disk_errors(self.path):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        files.write_text(self.path / "command.txt", command + "\n")
        if environment is not None:
            self.write_environment(environment)
        if not self.status_file.exists():
            files.write_json(self.status_file, {"state": State.QUEUED, "created": time.time(), "attempt": 0})
        files.write_text(self.spec_file, spec_yaml)

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Records versions, hardware and thread count of the attempt."""
        files.write_json(self.path / "environment.json", environment)

    def environment(self) -> dict[str, Any]:
        """What ``write_environment`` recorded, {} before the first attempt."""
        try:
            found: dict[str, Any] = files.read_json(self.path / "environment.json", {})
            return found
        except DamagedFile:
            return {}

    def command(self) -> str:
        """The shell command that would start an equal run; "" where none was kept."""
        try:
            return (self.path / "command.txt").read_text(errors="replace").strip()
        except OSError:
            return ""

    # snapshot ------------------------------------------------------------------------------------------------------

    def spec_text(self) -> str:
        """The experiment as it was launched, YAML. Raises FileNotFoundError, or DamagedFile when it is no text."""
        return files.read_text(self.spec_file, "YAML")

    def spec_mapping(self) -> dict[str, Any]:
        """The experiment as a plain mapping. Raises FileNotFoundError, or DamagedFile when it is none."""
        import yaml

        try:
            content = files.read_yaml(self.spec_text())
        except yaml.YAMLError as error:
            why = " ".join(str(error).split())
            raise DamagedFile(f"{self.spec_file} is damaged: found no YAML ({why})") from error
        if not isinstance(content, dict):
            raise DamagedFile(f"{self.spec_file} is damaged: found no mapping, which an experiment is")
        return content

    def spec_or_nothing(self) -> dict[str, Any]:
        """The experiment as a plain mapping; {} where it is not there or damaged, which `damage` describes."""
        try:
            return self.spec_mapping()
        except (FileNotFoundError, DamagedFile):
            return {}

    def damage(self, status: Mapping[str, Any] | None = None) -> str:
        """What of the run's files is damaged and what to do about it, in words; "" when all is well.

        Status, spec, model card and annotations are looked at.

        Args:
            status: the run's status, where that was read already.
        """
        status = self.status() if status is None else status
        found = []
        if status.get("damaged"):
            found.append(f"{status['damaged']}. {status['advice']}")
        parts = (
            (self.spec_mapping, _SPEC_ADVICE),
            (partial(files.read_json, self.card_file), _CARD_ADVICE),
            (partial(files.read_json, self.annotations_file), _ANNOTATIONS_ADVICE),
        )
        return " ".join([*found, *(text for text in starmap(_trouble, parts) if text)])

    # status --------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The last status written: state, phase, attempt, progress, metrics, reason...; {} when there is none.

        A damaged one never raises: it reads as the state "lost" for the reason "damaged", with ``damaged`` saying what
        was found, so that one run's file does not take all lists down. The next change writes it anew.
        """
        try:
            return self._checked(files.read_json(self.status_file, {}))
        except DamagedFile as error:
            why = {"reason": "damaged", "message": str(error), "advice": _STATUS_ADVICE.format(id=self.id)}
            return {"state": State.LOST, **why, "damaged": str(error)}

    def teacher_validation(self) -> float | None:
        """Accuracy (0..1) of its teacher on validation images: as this run's status says it, else the teacher's own.

        None without a teacher, or where it is gone and nobody has noted it.
        """
        status = self.status()
        noted: float | None = status.get("teacher_validation")
        trained = status.get("teacher_run")
        if noted is not None or not trained:
            return noted
        own: float | None = (RunDirectory(self.path.parent / trained).status().get("best") or {}).get("accuracy")
        return own

    def _checked(self, status: dict[str, Any]) -> dict[str, Any]:
        for name, kind in _PARTS.items():
            value: Any = status
            for key in name.split("."):
                value = value.get(key) if value else None
            if value is not None and not isinstance(value, kind):
                raise DamagedFile(f"{self.status_file} is damaged: found {value!r} as {name}")
        state = status.get("state")
        if state is not None and state not in set(State):
            raise DamagedFile(f"{self.status_file} is damaged: found the state {state!r}, which is none")
        return status

    def update_status(self, **changes: Any) -> dict[str, Any]:
        """Merges ``changes`` into the status, under a lock, and returns the whole of it.

        Raises KdError when the run is gone: moved with its workspace, or deleted. Nothing is made at the old place.
        """
        if not self.exists:
            raise KdError(f"the folder of the run, {self.path}, is gone: it was moved or deleted while it was in use")
        with files.lock(self.path / ".status.lock"):
            known = self.status()
            if "damaged" in known:  # kept for a person to look at
                self.status_file.replace(self.status_file.with_name("status.json.damaged"))
                known = {}
            status = known | changes
            files.write_json(self.status_file, status)
        return status

    def state(self) -> State | None:
        """The state in the status file, None when the run has none yet."""
        value = self.status().get("state")
        return State(value) if value else None

    def beat(self) -> None:
        """Sign of life; called by a thread of the trainer."""
        self.heartbeat_file.touch()

    def last_beat(self) -> float | None:
        """Time of the last sign of life, seconds since the epoch."""
        try:
            return self.heartbeat_file.stat().st_mtime
        except FileNotFoundError:
            return None

    # events --------------------------------------------------------------------------------------------------------

    def append_event(self, event: dict[str, Any]) -> None:
        """Adds one line to events.jsonl in a single write, so that lines never mix."""
        line = json.dumps({"time": round(time.time(), 3)} | event, allow_nan=False) + "\n"
        with files.disk_errors(self.events_file), self.events_file.open("ab", buffering=0) as file:
            written = file.write(line.encode())
            if written < len(line):  # all that the disk still had room for
                file.truncate(file.tell() - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def events(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """All complete events in the order written; a line that is none, cut short by a crash, is passed over."""
        try:
            file = self.events_file.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                event = read_event(line)
                if event is not None and kind in (None, event["kind"]):
                    yield event

    def latest(self, kind: str, key: str) -> list[dict[str, Any]]:
        """Events of a kind, one for each value of ``key``, a number (the last word on it), sorted by that value."""
        found = {event[key]: event for event in self.events(kind) if isinstance(event.get(key), int)}
        return [found[value] for value in sorted(found)]

    def repair_events(self) -> None:
        """Ends a line that a crash cut short, so that the next attempt starts on a fresh one."""
        try:
            with self.events_file.open("rb+") as file:
                file.seek(0, os.SEEK_END)
                if file.tell() == 0:
                    return
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        except FileNotFoundError:
            return

    def log_tail(self, lines: int = 40) -> list[str]:
        """The last lines of log.txt; carriage returns of progress bars end a line too."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 64 * 1024))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.replace("\r", "\n").splitlines()[-lines:]

    def size(self) -> int:
        """Bytes of all files in the folder."""
        return sum(_size(file) for file in self.path.rglob("*"))


def _size(path: Path) -> int:
    """Bytes of a file; 0 for a folder, and for one that has just gone."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
