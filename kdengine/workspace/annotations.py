"""What a person writes about a run: a name, tags and notes, in ``annotations.json`` in the run's folder.

A file of its own, which goes with the folder: status and spec are the program's, the queue's database may be made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from kdengine.errors import BadInput, DamagedFile, KdError, Problem
from kdengine.workspace import files
from kdengine.workspace.rundir import RunDirectory

MAX_NAME, MAX_TAG, MAX_TAGS, MAX_NOTES = 120, 40, 20, 20_000
"""Characters of a name, characters of a tag, tags of a run, characters of its notes."""


@dataclass(frozen=True)
class Annotations:
    """What a person wrote; empty where nothing was written. Tags come in their order, each once."""

    name: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""


def read_annotations(run: RunDirectory) -> Annotations:
    """What is written about a run; nothing for a damaged file, which `RunDirectory.damage` describes."""
    try:
        content = files.read_json(run.annotations_file, {})
    except DamagedFile:
        return Annotations()
    name, tags, notes = content.get("name"), content.get("tags"), content.get("notes")
    return Annotations(
        name=name if isinstance(name, str) else "",
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        notes=notes if isinstance(notes, str) else "",
    )


def annotate(
    run: RunDirectory, *, name: str | None = None, tags: Iterable[str] | None = None, notes: str | None = None
) -> Annotations:
    """Writes name, tags and notes of a run; what is None stays. A damaged file is kept under another name.

    Raises:
        BadInput: every problem at once, of words that are too long or no tags; nothing was written.
        KdError: the run is gone.
    """
    wanted = {"name": _one_line(name), "tags": None if tags is None else tidy(tags), "notes": notes}
    given: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    return _change(run, lambda old: replace(old, **given))


def retag(run: RunDirectory, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Annotations:
    """Adds tags to a run and takes others away, in one step; raises as `annotate` does."""
    added, removed = tidy(add), tidy(remove)
    return _change(run, lambda old: replace(old, tags=tidy(tag for tag in (*old.tags, *added) if tag not in removed)))


def tidy(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags without spaces at their ends and a leading ``#``, none empty, each once."""
    words = (" ".join(tag.split()).removeprefix("#").strip() for tag in tags)
    return tuple(dict.fromkeys(word for word in words if word))


def _one_line(name: str | None) -> str | None:
    return None if name is None else " ".join(name.split())


def _change(run: RunDirectory, change: Callable[[Annotations], Annotations]) -> Annotations:
    if not run.exists:
        raise KdError(f"there is no run {run.id} any more: it was moved or deleted")
    with files.lock(run.path / ".annotations.lock"):
        try:
            files.read_json(run.annotations_file, {})
        except DamagedFile:  # kept for a person to look at
            run.annotations_file.replace(run.annotations_file.with_name("annotations.json.damaged"))
        new = change(read_annotations(run))
        _check(new)
        files.write_json(run.annotations_file, asdict(new))
    return new


def _check(new: Annotations) -> None:
    problems = []
    if len(new.name) > MAX_NAME:
        problems.append(Problem("name", f"found {len(new.name)} characters, expected {MAX_NAME} at most"))
    if len(new.notes) > MAX_NOTES:
        problems.append(Problem("notes", f"found {len(new.notes):,} characters, expected {MAX_NOTES:,} at most"))
    if len(new.tags) > MAX_TAGS:
        problems.append(Problem("tags", f"found {len(new.tags)} tags, expected {MAX_TAGS} at most"))
    problems += [
        Problem("tags", f"found {len(tag)} characters in {tag[:20]!r}…, expected {MAX_TAG} at most")
        for tag in new.tags
        if len(tag) > MAX_TAG
    ]
    if problems:
        raise BadInput(problems)
