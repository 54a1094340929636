"""What can be picked on the Launch page: names and labels from the registries, own images and finished runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app import forms
from kdengine.data.sources.uploads import sources
from kdengine.errors import BadInput, Problem
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.teachers.records import PREFIX, list_imports
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory, short_id
from kdengine.workspace.states import State

OWN = "own:"
"""A choice of the data card that stands for the ``folder`` data set with one of the person's own sources."""

ELSEWHERE = "path:"
"""A choice that stands for the ``folder`` data set at a path outside the workspace, from which a run here was made."""

Choices = list[tuple[str, str]]


def datasets(workspace: Workspace) -> Choices:
    """Built-in data sets, then one's own images: folders and archives in ``<workspace>/datasets/own``."""
    built_in = [(DATASETS.get(name).title, name) for name in DATASETS.names() if name != "folder"]
    return built_in + [(f"my images: {path.name}", OWN + path.name) for path in own_sources(workspace)]


def own_sources(workspace: Workspace) -> list[Path]:
    """Folders and archives that a person put into ``<workspace>/datasets/own``; none that is half there."""
    return sources(workspace.datasets / "own")


def data_mapping(workspace: Workspace, choice: str, image_size: float | None = None) -> dict[str, Any]:
    """A choice of the data card as the spec's ``data``, with an image size where one is given.

    Raises:
        BadInput: one's own source of that name is not there, or no run here was made from the path: a
            choice made up by a client reaches no other file.
    """
    sized = {"image_size": int(image_size)} if image_size else {}
    if choice.startswith(OWN):
        name = choice.removeprefix(OWN)
        source = next((path for path in own_sources(workspace) if path.name == name), None)
        if source is None:
            raise BadInput(Problem("data", f"{name!r} is not among your own images any more; choose other data"))
        return {"name": "folder", "path": str(source)} | sized
    if choice.startswith(ELSEWHERE):
        path = choice.removeprefix(ELSEWHERE)
        if path not in _paths_of_runs(workspace):
            raise BadInput(Problem("data", "no run here was made from that folder; use `kd train --set data.path=...`"))
        return {"name": "folder", "path": path} | sized
    data_definition(choice)  # refuses what is none
    return {"name": choice} | sized


def data_definition(choice: str) -> Any:
    """The data set behind a choice; raises BadInput where there is none."""
    name = dataset_word(choice)
    if name not in DATASETS:
        raise BadInput(Problem("data", f"there is no data set {name!r}; choose one from the list"))
    return DATASETS.get(name)


def dataset_word(choice: str) -> str:
    """What `--dataset` takes for a choice; one's own images are a folder."""
    return choice if not choice.startswith((OWN, ELSEWHERE)) else "folder"


def data_choice(workspace: Workspace, data: dict[str, Any]) -> str:
    """The choice of the data card that shows a spec's ``data``: always that very data, never others in their place."""
    if data["name"] != "folder":
        return str(data["name"])
    path = next((path for path in own_sources(workspace) if str(path) == data.get("path")), None)
    return OWN + path.name if path else f"{ELSEWHERE}{data.get('path')}"


def with_choice(choices: Choices, choice: str) -> Choices:
    """The choices, and this one too where it is missing among them."""
    if choice in [value for _, value in choices]:
        return choices
    return [*choices, (f"folder {choice.removeprefix(ELSEWHERE)}" if choice.startswith(ELSEWHERE) else choice, choice)]


def _paths_of_runs(workspace: Workspace) -> set[str]:
    specs = [_plain_spec(run) for run in workspace.list_runs()]
    data = [spec["data"] for spec in specs if isinstance(spec.get("data"), dict)]
    return {str(each.get("path")) for each in data if each.get("name") == "folder"}


def teachers(workspace: Workspace, data: dict[str, Any]) -> Choices:
    """Finished runs on the same data, best first, then imports, then every model as a teacher to be trained first."""
    found = [entry for run in workspace.list_runs() if (entry := _teacher(run, data)) is not None]
    runs = [(label, value) for _, label, value in sorted(found, reverse=True)]
    return runs + every_teacher(workspace)


def teachers_for(workspace: Workspace, choice: str, image_size: float | None = None) -> Choices:
    """The teachers that go with a choice of the data card; where its data are gone, those that are the same for all."""
    try:
        return teachers(workspace, data_mapping(workspace, choice, image_size))
    except BadInput:
        return every_teacher(workspace)


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


def needs_teacher(method: str, settings: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Whether a method uses a teacher, with these settings where they are valid, else with its defaults."""
    if method not in METHODS:
        return False  # the experiment's own check says what is wrong
    entry = METHODS.get(method)
    try:
        params = entry.Params(**settings)
    except ValueError:
        params = entry.Params()
    return bool(entry.requires(params).teacher)


def may_need_teacher(method: str) -> bool:
    """Whether a method uses a teacher with its defaults, or with another choice of one of its settings."""
    fields = METHODS.get(method).Params.model_fields if method in METHODS else {}
    choices = [{name: value} for name, info in fields.items() for value in forms.choices_of(info)]
    return any(needs_teacher(method, settings) for settings in ({}, *choices))


def _plain_spec(run: RunDirectory) -> dict[str, Any]:
    """A run's spec as plain YAML; {} for what cannot be read."""
    try:
        return _read_spec(run.path, run.spec_file.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=4096)
def _read_spec(path: Path, written: int) -> dict[str, Any]:
    """Kept: a spec does not change once it is written, and a workspace can hold hundreds."""
    return RunDirectory(path).spec_or_nothing()


def _teacher(run: RunDirectory, data: dict[str, Any]) -> tuple[float, str, str] | None:
    """(accuracy, label, choice) of a finished run on the same data; None for others, and for what cannot be read."""
    status = run.status()
    if status.get("state") != State.FINISHED or not run.student_file.is_file():
        return None
    try:
        spec = _plain_spec(run)
        if any(spec["data"].get(key) != data.get(key) for key in ("name", "path", "image_size") if key in data):
            return None
        what = f"{spec['student']['name']}, {spec['method']['name']}"
    except (KeyError, TypeError, AttributeError):
        return None  # the Runs page says what is wrong with it
    accuracy = (status.get("best") or {}).get("accuracy") or 0.0
    return accuracy, f"run {short_id(run.id)}: {what}, {100 * accuracy:.1f} %", f"run:{run.id}"
