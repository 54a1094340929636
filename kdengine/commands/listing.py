"""``kd list``: what there is to choose from; for one entry every setting with its bounds and its default's source."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from kdengine.commands.tables import show, show_json, show_pairs
from kdengine.errors import BadInput, Problem
from kdengine.plugins import Failure
from kdengine.registry import DATASETS, METHODS, MODELS, Registry, UnknownName
from kdengine.spec import RecipeSpec
from kdengine.spec.fields import about
from kdengine.spec.named_recipes import RECIPES
from kdengine.units import size

COST_CLASSES, COST_SIZE = 100, 32
_SIGNS = ((annotated_types.Ge, "ge", "≥"), (annotated_types.Gt, "gt", ">"))
_SIGNS_ABOVE = ((annotated_types.Le, "le", "≤"), (annotated_types.Lt, "lt", "<"))


class Kind(NamedTuple):
    """One thing that can be listed: its names, its entry of a name, and what a table and a page say of an entry."""

    names: Callable[[], list[str]]
    get: Callable[[str], Any]
    row: Callable[[str, Any], dict[str, Any]]
    settings: Callable[[Any], type[BaseModel]]
    note: str = ""
    failures: Callable[[], list[Failure]] = list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd list``."""
    parser.add_argument("kind", choices=tuple(KINDS), help="what to list")
    parser.add_argument("pattern", nargs="?", help="one name (shows all of it), a part of names, or a shell pattern")
    parser.add_argument(
        "--cost", action="store_true", help=f"models: parameters and MACs at {COST_SIZE} px, {COST_CLASSES} classes"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Prints the list, or one entry."""
    kind = KINDS[options.kind]
    if options.pattern and _is_entry(kind, options.pattern):
        _show_one(kind, options.pattern, options.cost, options.json)
        return 0
    rows = [_row(kind, name, options.cost) for name in _matching(kind, options.pattern)]
    for failure in kind.failures():
        sys.stderr.write(f"kd: {failure}\n")
    if options.json:
        show_json(rows)
        return 0
    show(list(rows[0]), [[_text(value) for value in row.values()] for row in rows])
    if kind.note and not options.pattern:
        sys.stdout.write(f"\n{kind.note}\n")
    return 0


def parameters(settings: type[BaseModel]) -> list[dict[str, Any]]:
    """Every setting of a class: name, title, default, bounds, tune range, description, source."""
    return [_parameter(name, field) for name, field in settings.model_fields.items() if name not in ("name", "params")]


def bounds(field: FieldInfo) -> str:
    """The values a setting takes, in signs: ``> 0, ≤ 100``, ``a | b``, or "" when anything of its type goes."""
    if get_origin(field.annotation) is Literal:
        return " | ".join(map(str, get_args(field.annotation)))
    found = []
    for kind, name, sign in (*_SIGNS, *_SIGNS_ABOVE):
        found += [f"{sign} {getattr(limit, name)}" for limit in field.metadata if isinstance(limit, kind)]
    return ", ".join(found)


def _parameter(name: str, field: FieldInfo) -> dict[str, Any]:
    more = about(field)
    tune = more.get("tune")
    return {
        "name": name,
        "default": None if field.default is PydanticUndefined else field.default,
        "bounds": bounds(field),
        "tune": f"{tune['low']:g} .. {tune['high']:g}{', log' if tune['log'] else ''}" if tune else "",
        "description": field.description or "",
        "source": more.get("source", ""),
    }


def _is_entry(kind: Kind, name: str) -> bool:
    try:
        kind.get(name)
    except UnknownName:
        return False
    return True


def _matching(kind: Kind, pattern: str | None) -> list[str]:
    if pattern is None:
        return kind.names()
    shell = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    found = fnmatch.filter(kind.names(), shell)
    if not found:
        try:
            kind.get(pattern)
        except UnknownName as error:
            raise BadInput(Problem("", str(error))) from error
    return found


def _row(kind: Kind, name: str, cost: bool) -> dict[str, Any]:
    row = {"name": name} | kind.row(name, kind.get(name))
    return row | _cost(name) if cost and kind is KINDS["models"] else row


def _show_one(kind: Kind, name: str, cost: bool, as_json: bool) -> None:
    row = _row(kind, name, cost)
    table = kind.settings(kind.get(name))
    settings = parameters(table) if kind is not KINDS["recipes"] else _recipe_settings(name)
    if as_json:
        show_json(row | {"parameters": settings})
        return
    show_pairs([(key, _text(value)) for key, value in row.items()])
    if not settings:
        sys.stdout.write("\nIt has no settings of its own.\n")
        return
    sys.stdout.write("\n")
    columns = [column for column in settings[0] if any(_text(setting[column]) for setting in settings)]
    show(columns, [[_cell(setting, column) for column in columns] for setting in settings])


def _cell(setting: dict[str, Any], column: str) -> str:
    """A default of "-" is one that a person must give, or leave open."""
    return "-" if column == "default" and setting[column] is None else _text(setting[column])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)


# the kinds -----------------------------------------------------------------------------------------------------------


def _method_row(name: str, method: Any) -> dict[str, Any]:
    return {
        "family": method.family,
        "teacher": bool(method.requires(method.Params()).teacher),
        "summary": method.description,
        "paper": method.paper,
    }


def _model_row(name: str, model: Any) -> dict[str, Any]:
    return {"summary": model.summary, "from px": model.min_size}


def _dataset_row(name: str, dataset: Any) -> dict[str, Any]:
    return {
        "classes": dataset.class_count,
        "images": sum(dataset.counts) if dataset.counts else None,
        "px": dataset.default_image_size,
        "here": _where(dataset),
        "summary": dataset.summary,
    }


def _where(dataset: Any) -> str:
    from kdengine.workspace import Workspace

    if any(field.is_required() for field in dataset.Params.model_fields.values()):
        return "your own"
    present = dataset.present(dataset.Params(), Workspace().datasets)
    return "present" if present else "to be downloaded"


def _recipe_row(name: str, recipe: Any) -> dict[str, Any]:
    return {"summary": recipe.summary, "source": recipe.source}


def _recipe_settings(name: str) -> list[dict[str, Any]]:
    values = RECIPES[name].settings
    rows = [row | {"default": values[row["name"]]} for row in parameters(RecipeSpec)]
    if RECIPES[name].mobile_lr is not None:
        rate = next(row for row in rows if row["name"] == "lr")
        rate["description"] += f" {RECIPES[name].mobile_lr:g} for MobileNet and ShuffleNet students."
    return rows


def _cost(name: str) -> dict[str, Any]:
    """Builds the net, and leaves the random state as it was."""
    import torch

    from kdengine.evaluation.cost import count
    from kdengine.models import build_model

    try:
        with torch.random.fork_rng(devices=[]):
            cost = count(build_model(name, COST_CLASSES, COST_SIZE))
    except BadInput:  # it does not take images of that size
        return {"parameters": None, "MACs": None, "size": ""}
    return {"parameters": cost.parameters, "MACs": cost.macs, "size": size(cost.bytes)}


def _of(registry: Registry[Any], row: Callable[[str, Any], dict[str, Any]], note: str = "") -> Kind:
    return Kind(registry.names, registry.get, row, lambda entry: entry.Params, note, registry.failures)


def _get_recipe(name: str) -> Any:
    if name not in RECIPES:
        raise UnknownName(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


KINDS: dict[str, Kind] = {
    "methods": _of(METHODS, _method_row),
    "models": _of(
        MODELS, _model_row, "Besides: timm/<name> and torchvision/<name>, any classifier of those libraries."
    ),
    "datasets": _of(DATASETS, _dataset_row),
    "recipes": Kind(lambda: list(RECIPES), _get_recipe, _recipe_row, lambda entry: RecipeSpec),
}
