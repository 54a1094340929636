"""Settings as text: ``path=value`` words, nested mappings, and both laid over each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kdengine.errors import BadInput, Problem
from kdengine.spec.yaml_text import read_yaml


def nested(assignments: Iterable[str], field: str = "--set") -> dict[str, Any]:
    """Turns ``["method.temperature=2", ...]`` into a nested mapping; values are read as YAML.

    Raises BadInput, its problems under ``field``.
    """
    tree: dict[str, Any] = {}
    problems = []
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals or not all(path.split(".")):
            problems.append(Problem(field, f"found {text!r}, expected path=value, e.g. method.temperature=2"))
            continue
        node = tree
        *parents, leaf = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict) or isinstance(node.get(leaf), dict):
            problems.append(
                Problem(field, f"found {text!r} beside another value for a part or the whole of {path}; give one")
            )
            continue
        try:
            node[leaf] = read_value(value)
        except BadInput:
            shown = f"{value[:60]}…" if len(value) > 60 else value
            problems.append(Problem(path, f"cannot read the value {shown!r}; put text with special signs in quotes"))
    if problems:
        raise BadInput(problems)
    return tree


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, level by level; a name in ``base`` counts as ``{name: ...}``."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, str) and key != "teacher":
            below = {"name": below}
        merged[key] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def with_absolute_paths(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's mapping, and its teacher's, with the path of one's own images as it is seen from any folder."""
    found = dict(mapping)
    data, teacher = found.get("data"), found.get("teacher")
    if isinstance(data, Mapping) and isinstance(data.get("path"), str) and data["path"]:
        path = Path(data["path"])
        found["data"] = {**data, "path": str(path if data["path"].startswith("~") else Path.cwd() / path)}
    if isinstance(teacher, Mapping) and isinstance(teacher.get("spec"), Mapping):
        found["teacher"] = {**teacher, "spec": with_absolute_paths(teacher["spec"])}
    return found


def read_value(text: str) -> Any:
    """A value as a person writes it after ``path=``; raises BadInput."""
    value = read_yaml(text, "--set")
    if isinstance(value, str) and value == text.strip():
        # YAML 1.1 reads 1e-3 as a word; what stands in quotes is meant as one.
        try:
            return float(value)
        except ValueError:
            return value
    return value


def as_words(changes: Mapping[str, str]) -> list[str]:
    """``path=value`` of each."""
    return [f"{path}={value}" for path, value in changes.items()]


def write_value(value: Any) -> str:
    """A value so that `read_value` reads it."""
    if isinstance(value, str) and _reads_as_itself(value):
        return value
    return json.dumps(value)


def _reads_as_itself(text: str) -> bool:
    try:
        return bool(read_value(text) == text)
    except BadInput:
        return False


def unflatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of which ``values`` are the leaves by their dotted paths; the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        node = tree
        *parents, leaf = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``(dotted path, value)`` of every leaf."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{path}.")
        else:
            yield path, value
