"""Imported teachers on disk: what is known of each, and what needs it. Without torch, so that a page may look.

Layout::

    <workspace>/teachers/<name>/teacher.safetensors  model_card.json
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from kdengine.errors import BadInput, DamagedFile, Problem
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace, files

FIELD = "teacher.import"
PREFIX = "import:"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}\Z", re.IGNORECASE)
CARD = "model_card.json"
WEIGHTS = "teacher.safetensors"

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Imported:
    """An imported teacher: what one must know to use its weights. The weights themselves are never changed.

    Attributes:
        path: its folder; the last part is its name.
        model, options: architecture in the catalog, and its own parameters.
        classes: names in the order of the logits; "class 0", "class 1"... where nobody has named them.
        named: whether those are real names.
        image_size: side of the square in pixels.
        mean, std: per-channel normalisation, in units of 0..1 pixel values.
        weights: sha256 of teacher.safetensors.
        source: where the weights came from, in words.
        order: which of the classifier's rows stands for each class, once they were reordered; None: as they came.
        imported: when, in seconds since the epoch.
        notes: what was done on the way: a prefix taken off, an order corrected.
        checks: accuracy (0..1) by data set, as last checked.
    """

    path: Path
    model: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    named: bool
    image_size: int
    mean: Rgb
    std: Rgb
    weights: str
    source: str
    order: tuple[int, ...] | None = None
    imported: float = 0.0
    notes: tuple[str, ...] = ()
    checks: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in the workspace."""
        return self.path.name

    @property
    def id(self) -> str:
        """How an experiment names it: import:NAME."""
        return PREFIX + self.name

    @property
    def weights_file(self) -> Path:
        """Its weights, in the names of the body's own library."""
        return self.path / WEIGHTS

    @property
    def digest(self) -> str:
        """16 hex digits over all that decides its logits: weights, architecture, order, size, normalisation."""
        deciding = {
            name: value
            for name, value in self.to_json().items()
            if name in ("model", "options", "image_size", "mean", "std", "weights", "order")
        }
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The card as plain values; all but where it lies."""
        content = asdict(replace(self, path=Path()))
        del content["path"]
        return content

    def write(self) -> None:
        """Writes the card, atomically."""
        files.write_json(self.path / CARD, self.to_json())


def folder(workspace: Workspace, name: str, problem_field: str = FIELD) -> Path:
    """The folder of an import, existing or not; raises BadInput for what cannot be a name ("../elsewhere")."""
    if not NAME.match(name):
        message = f"{name!r} is no name for a teacher (letters, digits, '.', '_', '-', 48 at most)"
        raise BadInput(Problem(problem_field, message))
    return workspace.teachers / name


def find(workspace: Workspace, name: str, problem_field: str = FIELD) -> Imported:
    """The import of that name; raises BadInput when there is none, or its card cannot be read."""
    path = folder(workspace, name, problem_field)
    try:
        content = files.read_json(path / CARD)
        if content is not None:
            return _read(path, content)
    except (ValueError, TypeError) as error:
        raise BadInput(Problem(problem_field, f"{path / CARD} is not the card of a teacher: {error}")) from error
    known = ", ".join(imported.name for imported in list_imports(workspace)) or "none yet"
    raise BadInput(Problem(problem_field, f"there is no imported teacher {name!r}; there are: {known} (see kd import)"))


def list_imports(workspace: Workspace) -> list[Imported]:
    """All imports by name; what cannot be read is left out, `damaged_imports` names it."""
    return [found for found in _cards(workspace) if isinstance(found, Imported)]


def damaged_imports(workspace: Workspace) -> list[str]:
    """What is wrong with the imports that cannot be read, a sentence each."""
    return [found for found in _cards(workspace) if isinstance(found, str)]


def _cards(workspace: Workspace) -> Iterator[Imported | str]:
    for path in sorted(workspace.teachers.glob(f"*/{CARD}")):
        if NAME.match(path.parent.name):
            try:
                yield _read(path.parent, files.read_json(path, {}))
            except DamagedFile as error:
                yield str(error)
            except (ValueError, TypeError) as error:
                yield f"{path} is damaged: found no card of a teacher ({error})"


def _read(path: Path, content: dict[str, Any]) -> Imported:
    known = {entry.name for entry in fields(Imported)} - {"path"}
    values = {key: value for key, value in content.items() if key in known}
    lists = {key: tuple(values[key]) for key in ("classes", "mean", "std", "order", "notes") if values.get(key)}
    return Imported(path=path, **values | lists)


def keep(workspace: Workspace, imported: Imported, weights: Path) -> Imported:
    """Files a new import: its folder appears whole or not at all.

    Args:
        workspace: where it is kept.
        imported: the card; its path says the name only.
        weights: safetensors file of the body; moved.

    Raises:
        BadInput: there is a teacher of that name already.
    """
    workspace.settle(new=True)
    place = folder(workspace, imported.name, "name")
    if place.exists():
        raise BadInput(Problem("name", _taken(imported.name)))
    with files.disk_errors(place):
        workspace.teachers.mkdir(parents=True, exist_ok=True)
        making = place.with_name(f".{place.name}-{secrets.token_hex(4)}.tmp")
        making.mkdir()
        try:
            shutil.move(weights, making / WEIGHTS)
            replace(imported, path=making, imported=time.time()).write()
            making.rename(place)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # another import of that name was quicker
                raise BadInput(Problem("name", _taken(imported.name))) from error
            raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return find(workspace, imported.name)


def check_free(workspace: Workspace, name: str) -> None:
    """Raises BadInput when there is a teacher of that name, or it cannot be a name."""
    if folder(workspace, name, "name").exists():
        raise BadInput(Problem("name", _taken(name)))


def _taken(name: str) -> str:
    return (
        f"there is an imported teacher {name!r} already; choose another name, or delete it: kd import {name} --delete"
    )


def delete(workspace: Workspace, name: str) -> None:
    """Removes an import; raises BadInput while a run or a comparison needs it."""
    imported = find(workspace, name, "name")
    check_unneeded(workspace, imported, "deleted")
    trash = imported.path.with_name(f".trash-{name}-{secrets.token_hex(4)}")
    with files.disk_errors(imported.path):
        imported.path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def check_unneeded(workspace: Workspace, imported: Imported, what: str) -> None:
    """Raises BadInput naming what would no longer be what it was, were the import deleted or changed."""
    needed = needed_by(workspace, imported.name)
    if needed:
        more = f" and {len(needed) - 3} more" if len(needed) > 3 else ""
        message = f"{imported.name!r} cannot be {what}: {', '.join(needed[:3])}{more} learned or will learn from it"
        raise BadInput(Problem("name", message))


def needed_by(workspace: Workspace, name: str) -> list[str]:
    """Ids of the runs, and names of the comparisons, whose teacher it is; runs that wait in the queue among them."""
    places = [(run.spec_file, f"run {run.id}") for run in workspace.list_runs()]
    places += [(path, f"comparison {path.parent.name}") for path in sorted(workspace.comparisons.glob("*/plan.yaml"))]
    return [label for path, label in places if name in _named_in(path, name)]


def _named_in(path: Path, name: str) -> set[str]:
    """Names of the imports that a spec or plan names, at any depth."""
    try:
        text = path.read_text()
        # Most specs name no import: reading them as YAML would take a second for a few hundred.
        return set(_imports_of(files.read_yaml(text))) if "import" in text and name in text else set()
    except (OSError, yaml.YAMLError):
        return set()


def _imports_of(tree: Any) -> Iterator[str]:
    for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree if isinstance(tree, list) else ()):
        if key == "import" and isinstance(value, str):
            yield value
        elif key == "teacher" and isinstance(value, str) and value.startswith(PREFIX):
            yield value.removeprefix(PREFIX).partition("@")[0]
        else:
            yield from _imports_of(value)


def read_normalisation(mean: str | None, std: str | None) -> tuple[Rgb, Rgb] | None:
    """Mean and standard deviation from texts such as ``"0.49, 0.48, 0.45"``; None where both are empty.

    Raises:
        BadInput: one without the other, or not three numbers.
    """
    given = {"mean": (mean or "").strip(), "std": (std or "").strip()}
    if not any(given.values()):
        return None
    missing = [Problem(name, "give mean and std, or neither") for name, text in given.items() if not text]
    if missing:
        raise BadInput(missing)
    return _rgb("mean", given["mean"]), _rgb("std", given["std"])


def _rgb(problem_field: str, text: str) -> Rgb:
    try:
        red, green, blue = (float(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        message = f"found {text!r}, expected three numbers of 0..1, e.g. 0.49,0.48,0.45"
        raise BadInput(Problem(problem_field, message)) from error
    return red, green, blue


# in experiments -------------------------------------------------------------------------------------------------------


def of_digest(workspace: Workspace, name: str, digest: str | None) -> Imported:
    """The import that an experiment names; raises BadInput when it is another one by now."""
    imported = find(workspace, name)
    if digest is not None and digest != imported.digest:
        message = f"{name!r} has the digest {imported.digest}, the experiment asks for {digest}: other weights, order "
        raise BadInput(Problem(FIELD, message + "or normalisation; import those again under another name"))
    return imported


def pinned(spec: ExperimentSpec, workspace: Workspace) -> ExperimentSpec:
    """The experiment with the digest of its imported teacher written in, and so in its fingerprint.

    Raises:
        BadInput: there is no such import, or it has another digest than the one that the experiment has already.
    """
    teacher = spec.teacher
    if teacher is None:
        return spec
    if teacher.imported is not None:
        changed = {"digest": of_digest(workspace, teacher.imported, teacher.digest).digest}
    elif teacher.spec is not None and teacher.spec.teacher is not None:
        changed = {"spec": pinned(teacher.spec, workspace)}  # type: ignore[dict-item]
    else:
        return spec
    return spec.model_copy(update={"teacher": teacher.model_copy(update=changed)})


def pinned_mapping(mapping: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    """The same for an experiment, or a part of one, as a mapping; a digest that stands there already stays."""
    teacher = mapping.get("teacher")
    if isinstance(teacher, str) and teacher.startswith(PREFIX):
        name, _, digest = teacher.removeprefix(PREFIX).partition("@")
        teacher = {"import": name} | ({"digest": digest} if digest else {})
    if not isinstance(teacher, Mapping) or not teacher.get("import"):
        return dict(mapping)
    digest = teacher.get("digest") or find(workspace, teacher["import"]).digest
    return dict(mapping) | {"teacher": {"import": teacher["import"], "digest": digest}}
