"""What a person may leave out of a spec, and what an earlier version wrote into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdengine.registry import DATASETS, METHODS, MODELS, Registry
from kdengine.spec.fields import neutral_values
from kdengine.spec.named_recipes import RECIPES
from kdengine.spec.problems import field_error

SPEC_VERSION = 1
WRITTEN_OUT = {"image_size", "validation", "split_seed", "per_class", "fraction", "augmentation"}


def recipe_for(recipe: Any, student: Any) -> Any:
    """A recipe by name, or a part of one, with every number of the named recipe for that student."""
    if isinstance(recipe, str):
        recipe = {"name": recipe}
    if not isinstance(recipe, Mapping):
        return recipe
    named = recipe.get("name", "quick")
    if not isinstance(named, str) or named not in RECIPES:
        return recipe
    name = student if isinstance(student, str) else student.get("name", "") if isinstance(student, Mapping) else ""
    return RECIPES[named].for_student(str(name)) | dict(recipe)


def teacher_from_text(text: str, experiment: Mapping[str, Any]) -> Any:
    """The teacher that one word stands for; a network's name is a run on the experiment's data under its recipe."""
    if text in ("", "none"):
        return None
    if text.startswith("run:"):
        return {"run": text.removeprefix("run:")}
    if text.startswith("import:"):
        name, _, digest = text.removeprefix("import:").partition("@")
        return {"import": name} | ({"digest": digest} if digest else {})
    recipe = experiment["recipe"]
    teacher = {
        "data": experiment["data"],
        "student": {"name": text},
        "method": {"name": "none"},
        # The same numbers, but for those that a recipe sets by the kind of network.
        "recipe": {key: value for key, value in recipe.items() if key != "lr"}
        if isinstance(recipe, Mapping)
        else recipe,
        "runtime": experiment["runtime"],
        "seed": 0,
    }
    return {"spec": teacher}


def check_version(found: Any) -> None:
    """Raises pydantic's error for what a newer version wrote."""
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise field_error("ExperimentSpec", "version", f"found {found!r}, expected a whole number from 1 on", found)
    if found > SPEC_VERSION:
        message = f"found version {found}, this program reads up to {SPEC_VERSION}; update kdengine"
        raise field_error("ExperimentSpec", "version", message, found)


def as_it_was_meant(mapping: dict[str, Any]) -> dict[str, Any]:
    """With what a setting that came later was before, where an earlier version wrote the experiment out.

    That is seen from the settings of all data sets being there, as in no experiment that a person writes.
    """
    if not isinstance(mapping["data"], Mapping) or not mapping["data"].keys() >= WRITTEN_OUT:
        return mapping
    parts = (("data", DATASETS), ("student", MODELS), ("method", METHODS))
    return mapping | {part: _with_values_of_before(mapping[part], registry) for part, registry in parts}


def _with_values_of_before(written: Any, registry: Registry[Any]) -> Any:
    if not isinstance(written, Mapping) or written.get("name", "") not in registry:
        return written
    settings = registry.get(written["name"]).Params
    neutral = neutral_values(settings)
    # A student or method that was put into the experiment by its name is a new one: the defaults are meant.
    complete = settings.model_fields.keys() - neutral.keys() <= written.keys()
    return {**neutral, **written} if complete and "params" not in written else written
