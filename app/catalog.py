"""What can be picked on the Launch page: names and labels from the registries, own pictures and finished runs."""

from __future__ import annotations

from typing import Any

from kdengine.errors import DamagedFile
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.rundir import RunDirectory, short_id
from kdengine.states import State
from kdengine.teachers.records import PREFIX, list_imports
from kdengine.workspace import Workspace

OWN = "own:"
"""A choice of the data card that stands for the ``folder`` data set with one of the person's own sources."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")

Choices = list[tuple[str, str]]


def datasets(workspace: Workspace) -> Choices:
    """Built-in data sets, then one's own pictures: folders and archives in ``<workspace>/datasets/own``."""
    built_in = [(DATASETS.get(name).title, name) for name in DATASETS.names() if name != "folder"]
    return built_in + [(f"own pictures: {path.name}", OWN + path.name) for path in own_sources(workspace)]


def own_sources(workspace: Workspace) -> list[Any]:
    """Folders and archives that a person put into ``<workspace>/datasets/own``."""
    place = workspace.datasets / "own"
    if not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if path.is_dir() or path.name.endswith(ARCHIVES))


def data_mapping(workspace: Workspace, choice: str) -> dict[str, Any]:
    """A choice of the data card as the spec's ``data``."""
    if choice.startswith(OWN):
        # Only what the scan found: a name made up by a client reaches no other file.
        path = next((path for path in own_sources(workspace) if path.name == choice.removeprefix(OWN)), None)
        return {"name": "folder", "path": str(path or choice)}
    return {"name": choice}


def dataset_word(choice: str) -> str:
    """What `--dataset` takes for a choice; one's own pictures are a folder."""
    return choice if choice in DATASETS.names() else "folder"


def data_choice(workspace: Workspace, data: dict[str, Any]) -> str:
    """The choice of the data card that shows a spec's ``data``."""
    if data["name"] != "folder":
        return str(data["name"])
    path = next((path for path in own_sources(workspace) if str(path) == data.get("path")), None)
    return OWN + path.name if path else "digits"


def teachers(workspace: Workspace, data: dict[str, Any]) -> Choices:
    """Finished runs on the same data, best first, then imports, then every model as a teacher to be trained first."""
    found = [taught for run in workspace.list_runs() if (taught := _teacher(run, data)) is not None]
    runs = [(label, value) for _, label, value in sorted(found, reverse=True)]
    return runs + every_teacher(workspace)


def every_teacher(workspace: Workspace) -> Choices:
    """The teachers that are the same for all data: imports, and every model to be trained first."""
    imports = [(f"imported: {imported.name}", imported_choice(imported.name)) for imported in list_imports(workspace)]
    return imports + [(f"train first: {name}", name) for name in MODELS.names()]


def imported_choice(name: str) -> str:
    """The choice of the teacher card that stands for an import."""
    return PREFIX + name


def students() -> Choices:
    """Every model of the catalog."""
    return [(name, name) for name in MODELS.names()]


def methods() -> Choices:
    """Every method by its title."""
    return [(METHODS.get(name).title, name) for name in METHODS.names()]


def needs_teacher(method: str) -> bool:
    """Whether a method with its default parameters uses a teacher."""
    entry = METHODS.get(method)
    return bool(entry.requires(entry.Params()).teacher)


def _teacher(run: RunDirectory, data: dict[str, Any]) -> tuple[float, str, str] | None:
    """(accuracy, label, choice) of a finished run on the same data; None for others, and for what cannot be read."""
    status = run.status()
    if status.get("state") != State.FINISHED or not run.student_file.is_file():
        return None
    try:
        spec = run.spec_mapping()
        if any(spec["data"].get(key) != data.get(key) for key in ("name", "path", "image_size") if key in data):
            return None
        what = f"{spec['student']['name']}, {spec['method']['name']}"
    except (FileNotFoundError, DamagedFile, KeyError, TypeError, AttributeError):
        return None  # the Runs page says what is wrong with it
    accuracy = (status.get("best") or {}).get("accuracy") or 0.0
    return accuracy, f"run {short_id(run.id)}: {what}, {100 * accuracy:.1f} %", f"run:{run.id}"
