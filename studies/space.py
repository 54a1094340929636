"""The search space of a study, drawn from the settings of an experiment: what each may be, and when it matters."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial
from pydantic.fields import FieldInfo

from kdengine.errors import BadInput, Problem
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec, RecipeSpec, flatten, merge, nested, unflatten
from kdengine.spec.fields import Settings, about, setting

STUDENT = "student.name"
Value = bool | int | float | str

_RANGE = re.compile(r"(?P<low>[^.,\s]+(?:\.\d[^.,\s]*)?)\.\.(?P<high>[^,\s]+)(?P<log>,\s*log|,\s*linear)?\Z")


class Dimension(Settings):
    """One row of the space.

    Attributes:
        field: dotted path of the setting in the experiment.
        kind: a number, a whole number, or one of several values.
        low, high: ends of the range of a number, both included; None for choices.
        log: whether the range is searched on a logarithmic scale.
        choices: the values to choose from; empty for numbers.
        on: whether it is searched; else the experiment's own value holds.
        when: dotted paths of other settings and the values with which this one matters.
    """

    field: str = setting(..., title="Field", description="Dotted path of the setting.")
    kind: Literal["float", "int", "choice"] = setting(..., title="Kind", description="Number, whole number, choice.")
    low: float | None = setting(None, title="From", description="Least value.")
    high: float | None = setting(None, title="To", description="Largest value.")
    log: bool = setting(False, title="Log", description="Searched on a logarithmic scale.")
    choices: tuple[Value, ...] = setting((), title="Choices", description="What is chosen from.")
    on: bool = setting(True, title="On", description="Whether it is searched.")
    when: dict[str, tuple[Value, ...]] = setting({}, title="When", description="Where it matters.")

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        if self.kind == "choice":
            return CategoricalDistribution(self.choices)
        assert self.low is not None and self.high is not None
        if self.kind == "int":
            return IntDistribution(round(self.low), round(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def points(self, count: int) -> tuple[Value, ...]:
        """Values of a grid: all choices, or so many of the range, evenly spaced on its scale."""
        if self.kind == "choice":
            return self.choices
        assert self.low is not None and self.high is not None
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        steps = [low + (high - low) * step / max(1, count - 1) for step in range(count)]
        values = [float(f"{math.exp(step) if self.log else step:.4g}") for step in steps]
        return tuple(dict.fromkeys(round(value) if self.kind == "int" else value for value in values))

    def holds(self, value: Any) -> bool:
        """Whether the value lies in the range or is among the choices."""
        if self.kind == "choice":
            return value in self.choices
        return isinstance(value, int | float) and bool(self.low <= value <= self.high)  # type: ignore[operator]

    def text(self) -> str:
        """The range as `edited` reads it: ``1..10, log`` or ``a, b``."""
        if self.kind == "choice":
            return ", ".join(map(str, self.choices))
        return f"{self.low:g}..{self.high:g}" + (", log" if self.log else "")


# what an experiment offers --------------------------------------------------------------------------------------------


def offered(spec: ExperimentSpec) -> tuple[Dimension, ...]:
    """Every tunable setting of an experiment with its declared range.

    Ticked are what the method's page shows first; what stands behind "More", choices, recipe and student are off, and
    what does not matter beside the experiment's other values.
    """
    method = METHODS.get(spec.method.name).Params.model_fields
    found = [*_of("method", method), *_of("recipe", RecipeSpec.model_fields)]
    found.append(Dimension(field=STUDENT, kind="choice", choices=(spec.student.name,), on=False))
    values = spec.flat()
    return tuple(
        dimension.model_copy(update={"on": dimension.on and not _idle(dimension, values, ())}) for dimension in found
    )


def _of(part: str, fields: Mapping[str, FieldInfo]) -> Iterator[Dimension]:
    for name, field in fields.items():
        more = about(field)
        when = {f"{part}.{other}": tuple(values) for other, values in more.get("when", {}).items()}
        common: dict[str, Any] = {"field": f"{part}.{name}", "when": when}
        if "tune" in more:
            tune = more["tune"]
            shown = part == "method" and not more.get("advanced")
            kind = "int" if field.annotation is int else "float"
            yield Dimension(kind=kind, low=tune["low"], high=tune["high"], log=tune["log"], on=shown, **common)
        elif part == "method" and get_origin(field.annotation) is Literal:
            yield Dimension(kind="choice", choices=get_args(field.annotation), on=False, **common)


def _idle(dimension: Dimension, values: Mapping[str, Any], searched: Container[str]) -> list[str]:
    """Why a setting has no effect, in words: others with another value that are not searched."""
    return [
        f"{other} is {' or '.join(map(str, allowed))}"
        for other, allowed in dimension.when.items()
        if other not in searched and values.get(other) not in allowed
    ]


def edited(
    dimensions: Sequence[Dimension], ranges: Mapping[str, str], off: Iterable[str] = (), *, only: bool = False
) -> tuple[Dimension, ...]:
    """The space with a person's ranges.

    Args:
        dimensions: what is offered.
        ranges: dotted path -> ``1..10``, ``0.1..5, log`` or ``a, b``; "" keeps the declared range. Each is ticked.
        off: dotted paths that are not searched.
        only: whether nothing but ``ranges`` is searched.

    Raises:
        BadInput: every unknown field and unreadable range at once.
    """
    known = {dimension.field: dimension for dimension in dimensions}
    problems = [
        Problem(f"space.{name}", f"is not among the tunable settings: {', '.join(known)}")
        for name in [*ranges, *off]
        if name not in known
    ]
    if only:
        known = {name: dimension.model_copy(update={"on": False}) for name, dimension in known.items()}
    for name, text in ranges.items():
        if name in known:
            try:
                known[name] = _read(known[name], text)
            except BadInput as error:
                problems += error.problems
    if problems:
        raise BadInput(problems)
    for name in off:
        known[name] = known[name].model_copy(update={"on": False})
    return tuple(known.values())


def _read(dimension: Dimension, text: str) -> Dimension:
    changes: dict[str, Any] = {"on": True}
    if text.strip() and dimension.kind == "choice":
        words = tuple(word.strip() for word in text.split(",") if word.strip())
        if dimension.field != STUDENT:
            unknown = [word for word in words if word not in dimension.choices]
            if unknown:
                message = f"found {', '.join(unknown)}, expected some of {dimension.text()}"
                raise BadInput(Problem(f"space.{dimension.field}", message))
        changes["choices"] = words
    elif text.strip():
        found = _RANGE.match(text.strip())
        try:
            low, high = (float(found["low"]), float(found["high"])) if found else (math.nan, math.nan)
        except ValueError:
            low = high = math.nan
        if not found or math.isnan(low) or math.isnan(high):
            message = f"found {text!r}, expected two numbers: 1..10, or 0.1..10, log"
            raise BadInput(Problem(f"space.{dimension.field}", message))
        changes |= {"low": low, "high": high}
        if found["log"]:
            changes["log"] = "log" in found["log"]
    return dimension.model_copy(update=changes)


def read_values(words: Iterable[str]) -> dict[str, Value]:
    """``method.temperature=2`` and the like, as path -> value; raises BadInput for a word that is no such pair."""
    values = dict(flatten(nested(words, "values")))
    empty = [path for path, value in values.items() if value is None]
    if empty:
        raise BadInput([Problem("values", f"found '{path}=', expected path=value with a value") for path in empty])
    return values


def searched(dimensions: Iterable[Dimension]) -> tuple[Dimension, ...]:
    """The ticked ones, those that decide about others first."""
    on = [dimension for dimension in dimensions if dimension.on]
    return tuple(sorted(on, key=lambda dimension: len(dimension.when)))


def problems(dimensions: Sequence[Dimension], experiment: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a space: nothing ticked, a range upside down or beyond what the setting allows."""
    on = searched(dimensions)
    if not on:
        return [Problem("space", "is empty: tick at least one setting, or give one a range")]
    found = []
    values = ExperimentSpec.from_mapping(experiment).flat()
    for dimension in on:
        where = f"space.{dimension.field}"
        idle = _idle(dimension, values, [each.field for each in on])
        if idle:
            found.append(Problem(where, f"matters only where {' and '.join(idle)}; set that, or search it too"))
        if dimension.kind == "choice":
            if len(dimension.choices) < 2:
                found.append(Problem(where, f"found one choice ({dimension.text()}), expected two or more"))
            ends: tuple[Value, ...] = dimension.choices
        else:
            assert dimension.low is not None and dimension.high is not None
            if dimension.low >= dimension.high:
                message = f"the range is upside down: found {dimension.low:g}..{dimension.high:g}, expected low < high"
                found.append(Problem(where, message))
                continue
            if dimension.log and dimension.low <= 0:
                found.append(Problem(where, f"a logarithmic range begins above 0, found {dimension.low:g}"))
                continue
            ends = tuple(dimension.distribution().to_external_repr(end) for end in (dimension.low, dimension.high))
        for end in ends:
            try:
                ExperimentSpec.from_mapping(overlaid(experiment, {dimension.field: end}))
            except BadInput as error:
                found += [Problem(where, f"{end}: {problem.message}") for problem in error.problems]
    return list(dict.fromkeys(found))


# one point of it ------------------------------------------------------------------------------------------------------


def grid(dimensions: Iterable[Dimension], experiment: Mapping[str, Any], count: int) -> dict[str, tuple[Value, ...]]:
    """Dotted path -> points of a grid: so many of each range, and the experiment's own value."""
    points = {}
    for dimension in dimensions:
        found = dimension.points(count)
        own = _at(experiment, dimension.field)
        if dimension.kind != "choice" and dimension.holds(own):
            found = tuple(sorted({*found, own}))
        points[dimension.field] = found
    return points


def suggest(
    trial: BaseTrial,
    dimensions: Sequence[Dimension],
    experiment: Mapping[str, Any],
    points: Mapping[str, tuple[Value, ...]] = MappingProxyType({}),
) -> dict[str, Value]:
    """Asks Optuna for a value of every dimension that matters in this trial.

    Args:
        trial: a trial that is running; what it has been given already it is given again.
        dimensions: of `searched`.
        experiment: the common one; its values stand where nothing is searched.
        points: of `grid`; without them the ranges themselves.

    Returns:
        Dotted path -> value.
    """
    values: dict[str, Value] = {}
    for dimension in dimensions:
        if not matters(dimension, values, experiment):
            continue
        if points or dimension.kind == "choice":
            choices = points.get(dimension.field, dimension.choices)
            values[dimension.field] = trial.suggest_categorical(dimension.field, choices)
        elif dimension.kind == "int":
            low, high = round(dimension.low or 0), round(dimension.high or 0)
            values[dimension.field] = trial.suggest_int(dimension.field, low, high, log=dimension.log)
        else:
            low_, high_ = dimension.low or 0.0, dimension.high or 0.0
            values[dimension.field] = trial.suggest_float(dimension.field, low_, high_, log=dimension.log)
    return values


def matters(dimension: Dimension, values: Mapping[str, Value], experiment: Mapping[str, Any]) -> bool:
    """Whether a setting has an effect, given the values chosen so far and those of the experiment."""
    return all(
        (values[other] if other in values else _at(experiment, other)) in allowed
        for other, allowed in dimension.when.items()
    )


def overlaid(experiment: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """The experiment with these values; another student starts from its own defaults."""
    mapping = dict(experiment)
    student = values.get(STUDENT)
    if student is not None and student != experiment["student"]["name"]:
        mapping["student"] = {"name": student}
    return merge(mapping, unflatten({path: value for path, value in values.items() if path != STUDENT}))


def starting_point(dimensions: Sequence[Dimension], experiment: Mapping[str, Any]) -> dict[str, Value]:
    """The experiment's own values in the space, each moved to the nearer end where it lies outside its range."""
    values: dict[str, Value] = {}
    for dimension in dimensions:
        if not matters(dimension, values, experiment):
            continue
        value = _at(experiment, dimension.field)
        if dimension.kind != "choice":
            assert dimension.low is not None and dimension.high is not None
            value = min(max(value, dimension.low), dimension.high)
            value = round(value) if dimension.kind == "int" else float(value)
        elif value not in dimension.choices:
            value = dimension.choices[0]
        values[dimension.field] = value
    return values


def _at(experiment: Mapping[str, Any], path: str) -> Any:
    value: Any = experiment
    for part in path.split("."):
        value = value[part]
    return value
