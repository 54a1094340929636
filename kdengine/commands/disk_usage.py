"""What a workspace takes on the disk, and what of it can go without harm to any run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kdengine.comparison.stored_plans import list_plans, load_plan
from kdengine.errors import BadInput, Problem
from kdengine.jobs import JobStore
from kdengine.jobs.job import UNENDED
from kdengine.jobs.of_runs import needed_by
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

DAY_S = 86400.0


@dataclass(frozen=True)
class Place:
    """A part of the workspace: its name, what is in it, its bytes, and how many things it holds."""

    name: str
    holds: str
    bytes: int
    count: int


@dataclass(frozen=True)
class Removal:
    """Something that can go: its path, bytes, why it is not needed, and the run, where it is a whole one."""

    path: Path
    bytes: int
    why: str
    run: str | None = None


def usage(workspace: Workspace) -> list[Place]:
    """How much each part takes; a file that vanishes meanwhile counts nothing."""
    runs = workspace.list_runs()
    weights = [path for run in runs for path in run.path.glob("*.safetensors")]
    checkpoints = [path for run in runs for path in run.checkpoints.glob("*") if path.is_file()]
    rest = sum(size_of(run.path) for run in runs) - sum(map(size_of, [*weights, *checkpoints]))
    stores = _children(workspace.cache / "stores")
    return [
        Place("weights", "students, last and best, and exits", sum(map(size_of, weights)), len(weights)),
        Place("checkpoints", "to resume from, and named epochs", sum(map(size_of, checkpoints)), len(checkpoints)),
        Place("logs", "events, specs, logs of the runs", rest, len(runs)),
        Place("teachers", "imported, `kd import NAME --delete` removes one", size_of(workspace.teachers),
              len([path for path in _children(workspace.teachers) if path.is_dir()])),
        Place("stores", "images decoded once", sum(map(size_of, stores)), len([p for p in stores if p.is_dir()])),
        Place("replay", "cached teacher logits", sum(map(size_of, _children(workspace.cache / "replay"))),
              len(_children(workspace.cache / "replay"))),
        Place("downloads", "archives, and your own images", size_of(workspace.datasets),
              len(_children(workspace.datasets))),
        Place("published", "weights of torchvision and timm", size_of(workspace.cache / "published"),
              len(_children(workspace.cache / "published"))),
        Place("MLflow", "database and artifacts", size_of(workspace.mlflow_db) + size_of(workspace.mlflow_artifacts),
              int(workspace.mlflow_db.exists())),
        Place("leftovers", "of interrupted deletions and writings", sum(map(size_of, _leftovers(workspace))),
              len(list(_leftovers(workspace)))),
    ]  # fmt: skip


def removable(workspace: Workspace, what: str, older_than_days: float = 0.0) -> list[Removal]:
    """What can go without harm.

    Args:
        workspace: whose disk it is.
        what: "checkpoints" (of finished runs: nobody resumes them), "stores" (decoded again when needed; only while no
            run is under way), "replay" (cached teacher logits, likewise), "leftovers", or "runs" (ended ones that
            teach no resumable run and are in no comparison).
        older_than_days: only what has not been written for so long.

    Raises:
        BadInput: an unknown word, or stores while a run is under way.
    """
    if what not in FINDERS:
        raise BadInput(Problem("--free", f"found {what!r}, expected one of {', '.join(FINDERS)}"))
    newest = time.time() - older_than_days * DAY_S
    return [found for found in FINDERS[what](workspace) if not older_than_days or _written(found.path) < newest]


def free(workspace: Workspace, removals: list[Removal]) -> int:
    """Removes them; returns the bytes freed. A run that somebody needs by now is passed over."""
    from kdengine import tracking

    freed = 0
    for removal in removals:
        if removal.run is None:
            _remove(removal.path)
        else:
            store = JobStore(workspace)
            run = workspace.run(removal.run)
            if store.find(run.id) is None and store.adopt(run) is None:
                continue
            try:
                tracking.delete_run(store, run.id)
            except BadInput:
                continue
        freed += removal.bytes
    return freed


def _checkpoints(workspace: Workspace) -> Iterator[Removal]:
    for run in workspace.list_runs():
        if run.state() == State.FINISHED and run.last_checkpoint.is_file():
            size = size_of(run.last_checkpoint)
            yield Removal(run.last_checkpoint, size, f"{run.id} is finished, its students stay")


def _stores(workspace: Workspace) -> Iterator[Removal]:
    _refuse_while_active(workspace, "stores")
    for path in _children(workspace.cache / "stores"):
        if path.is_dir():
            yield Removal(path, size_of(path), "is decoded again when a run needs it")


def _replay(workspace: Workspace) -> Iterator[Removal]:
    _refuse_while_active(workspace, "cached teacher logits")
    for path in _children(workspace.cache / "replay"):
        yield Removal(path, size_of(path), "is computed again when a run needs it")


def _refuse_while_active(workspace: Workspace, what: str) -> None:
    active = [job.id for job in JobStore(workspace).jobs(UNENDED)]
    if active:
        raise BadInput(Problem("--free", f"{what} are in use while runs are under way ({', '.join(active[:3])})"))


def _runs(workspace: Workspace) -> Iterator[Removal]:
    compared = _compared(workspace)
    for run in workspace.list_runs():
        status = run.status()
        if "damaged" in status:
            continue  # what it was is for a person to say
        if not State(status.get("state", State.QUEUED)).ended or status.get("fingerprint") in compared:
            continue
        if not needed_by(workspace, run.id):
            yield Removal(run.path, size_of(run.path), f"{status['state']}, teaches nobody, in no comparison", run.id)


def _compared(workspace: Workspace) -> set[str]:
    """Fingerprints of the runs that comparisons show, and of their teachers."""
    found: set[str] = set()
    for name in list_plans(workspace):
        plan = load_plan(workspace, name)
        found |= {cell.fingerprint for cell in plan.cells}
        found |= {cell.spec.teacher.spec.fingerprint() for cell in plan.cells
                  if cell.spec.teacher is not None and cell.spec.teacher.spec is not None}  # fmt: skip
    return found


def _leftover(workspace: Workspace) -> Iterator[Removal]:
    for path in _leftovers(workspace):
        if time.time() - _written(path) > 3600:  # a younger one may be at work
            yield Removal(path, size_of(path), "was left behind")


def _leftovers(workspace: Workspace) -> list[Path]:
    trash = list(workspace.runs.glob(".trash-*"))
    return trash + [path for path in workspace.runs.glob("*/**/.*.tmp") if path.is_file()]


FINDERS: dict[str, Callable[[Workspace], Iterator[Removal]]] = {
    "checkpoints": _checkpoints,
    "stores": _stores,
    "replay": _replay,
    "leftovers": _leftover,
    "runs": _runs,
}


def size_of(path: Path) -> int:
    """Bytes that a file, or all files below a folder, take on the disk, holes left out; 0 for nothing."""
    try:
        if path.is_dir():
            return sum(size_of(child) for child in path.iterdir() if not child.is_symlink())
        entry = path.stat()
        # Some file systems keep small files without a block of their own.
        return min(entry.st_size, entry.st_blocks * 512) if entry.st_blocks else entry.st_size
    except FileNotFoundError:
        return 0


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def largest_runs(workspace: Workspace, count: int) -> list[tuple[RunDirectory, int]]:
    """The runs that take most, with their bytes."""
    sizes = [(run, size_of(run.path)) for run in workspace.list_runs()]
    return sorted(sizes, key=lambda pair: pair[1], reverse=True)[:count]
