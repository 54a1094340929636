"""How every setting of the project is declared: one place for title, bounds, default, its source and its tuning range.

The Launch form, the command line, the YAML file, the MLflow parameters and the search space of a study are all drawn
from these declarations, so that nobody writes a parameter's name twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError


class Settings(BaseModel):
    """Base of everything a person can set: immutable, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """``seed: true`` would be read as 1."""
        if isinstance(value, bool) and _is_number(cls.model_fields[info.field_name or ""].annotation):
            raise PydanticCustomError("number", "expected a number", {})
        return value


def _is_number(annotation: Any) -> bool:
    options = get_args(annotation) or (annotation,)
    return bool({int, float} & set(options)) and bool not in options


class NoSettings(Settings):
    """For data sets, models and methods that have nothing of their own to set."""


_NOT_GIVEN: Any = object()


def setting(
    default: Any,
    *,
    title: str,
    description: str,
    source: str = "",
    neutral: Any = _NOT_GIVEN,
    tune: tuple[float, float] | None = None,
    log: bool = False,
    when: Mapping[str, tuple[Any, ...]] | None = None,
    short_runs: float | None = None,
    advanced: bool = False,
    unit: str = "",
    **bounds: Any,
) -> Any:
    """Declares one setting.

    Args:
        default: the value used when nothing is said; ``...`` makes the setting required.
        title: what stands beside the control, a few words.
        description: one sentence: what it does, and in which direction.
        source: where the default comes from (paper, public recipe, or "our choice").
        neutral: for a setting that comes later than finished runs: the value with which a run is the run that it was
            before there was the setting. It stays out of the fingerprint, so that those runs are found again. Where it
            is not the default, experiments that an earlier version wrote out are read with it. Never changed
            afterwards; a setting that was there from the start has none.
        tune: (low, high) of the range worth searching; None means that a study does not offer it.
        log: whether that range is searched on a logarithmic scale.
        when: settings of the same object and the values with which this one matters; a study leaves it alone elsewhere.
        short_runs: for a weight that public recipes have for long runs, what did better in short ones.
        advanced: shown only after "More" on the Launch page.
        unit: unit of the value, shown beside it.
        bounds: ``ge``, ``gt``, ``le``, ``lt`` as in pydantic.
    """
    extra: dict[str, Any] = {"source": source, "advanced": advanced, "unit": unit}
    if neutral is not _NOT_GIVEN:
        extra["neutral"] = neutral
    if tune is not None:
        extra["tune"] = {"low": tune[0], "high": tune[1], "log": log}
    if when is not None:
        extra["when"] = {name: list(values) for name, values in when.items()}
    if short_runs is not None:
        extra["short_runs"] = short_runs
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


def about(field: FieldInfo) -> dict[str, Any]:
    """What ``setting`` recorded beside pydantic's attributes: source, advanced, unit; neutral, tune, when,
    short_runs if given."""
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def neutral_values(settings: type[BaseModel]) -> dict[str, Any]:
    """The neutral value of each setting that has one."""
    marks = {name: about(field) for name, field in settings.model_fields.items()}
    return {name: extra["neutral"] for name, extra in marks.items() if "neutral" in extra}


def at_neutral(settings: BaseModel) -> list[str]:
    """Names of the settings that stand at their neutral value: nothing is different from when there were none."""
    neutral = neutral_values(type(settings))
    return [name for name, value in neutral.items() if getattr(settings, name) == value]


def weights_of_long_runs(settings: BaseModel) -> list[tuple[str, float, float]]:
    """Title, value, and what did better in short runs, of each weight that stands as public recipes have it."""
    marks = ((name, field, about(field)) for name, field in type(settings).model_fields.items())
    return [
        (str(field.title), float(field.default), mark["short_runs"])
        for name, field, mark in marks
        if "short_runs" in mark and getattr(settings, name) == field.default
    ]
