"""The search space: drawn from the settings of any method, conditional where it is, edited and refused in words."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from kdengine.errors import BadInput
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec
from studies import space
from studies.plan import read


def spec_of(method: str, **more: Any) -> ExperimentSpec:
    needs = METHODS.get(method).requires(METHODS.get(method).Params()).teacher
    mapping = {"data": "digits", "student": "resnet20", "method": {"name": method} | more}
    return ExperimentSpec.from_mapping(mapping | ({"teacher": "resnet8x4"} if needs else {}))


@pytest.mark.parametrize("method", [name for name in METHODS.names() if name != "none"])
def test_every_method_offers_what_it_declares(method: str) -> None:
    """What is ticked by default makes valid experiments from end to end of each range."""
    spec = spec_of(method)
    dimensions = space.offered(spec)
    declared = {
        f"method.{name}"
        for name, field in METHODS.get(method).Params.model_fields.items()
        if "tune" in (field.json_schema_extra or {})
    }
    named = {dimension.field for dimension in dimensions}
    assert declared | {"recipe.lr", "recipe.weight_decay", "student.name"} <= named
    assert space.problems(dimensions, spec.model_dump(mode="json")) == []
    start = space.starting_point(space.searched(dimensions), spec.model_dump(mode="json"))
    assert start, "something is ticked"
    trial = FixedTrial(start)
    assert space.suggest(trial, space.searched(dimensions), spec.model_dump(mode="json")) == start


def test_a_setting_is_asked_only_where_it_matters() -> None:
    spec = spec_of("ama_self")
    offered = space.offered(spec)
    alone = space.edited(offered, {"method.ratio_fixed": ""}, only=True)
    (problem,) = space.problems(alone, spec.model_dump(mode="json"))
    assert "matters only where method.ratio is fixed; set that, or search it too" in problem.message
    dimensions = space.searched(
        space.edited(offered, {"method.ratio": "feature, fixed", "method.ratio_fixed": "0.2..0.9"}, only=True)
    )
    experiment = spec.model_dump(mode="json")
    fixed = FixedTrial({"method.ratio": "fixed", "method.ratio_fixed": 0.4})
    assert space.suggest(fixed, dimensions, experiment) == {"method.ratio": "fixed", "method.ratio_fixed": 0.4}
    assert space.suggest(FixedTrial({"method.ratio": "feature"}), dimensions, experiment) == {"method.ratio": "feature"}


def test_ranges_are_read_as_they_are_shown() -> None:
    dimensions = space.offered(spec_of("dcad"))
    for dimension in dimensions:
        if dimension.field != space.STUDENT:
            again = {each.field: each for each in space.edited(dimensions, {dimension.field: dimension.text()})}
            assert again[dimension.field] == dimension.model_copy(update={"on": True})
    edited = space.edited(dimensions, {"recipe.lr": "0.01..0.1, log", "method.alpha": "1..2,linear"}, ["method.beta"])
    found = {each.field: each for each in edited}
    assert (found["recipe.lr"].low, found["recipe.lr"].high, found["recipe.lr"].log) == (0.01, 0.1, True)
    assert not found["method.alpha"].log and not found["method.beta"].on and found["method.gamma"].on
    only = space.searched(space.edited(dimensions, {"method.kind": "gram, pearson"}, only=True))
    assert [(each.field, each.choices) for each in only] == [("method.kind", ("gram", "pearson"))]


@pytest.mark.parametrize(
    ("ranges", "says"),
    [
        ({"method.temprature": ""}, r"space.method.temprature: is not among the tunable settings"),
        ({"method.temperature": "8..2"}, r"upside down: found 8..2"),
        ({"method.temperature": "2"}, r"found '2', expected two numbers"),
        ({"method.temperature": "a..b"}, r"expected two numbers"),
        ({"method.temperature": "0..5, log"}, r"logarithmic range begins above 0"),
        ({"method.temperature": "1..1000"}, r"space.method.temperature: 1000.0: .*less than or equal to 100"),
        ({"method.kind": "cosine, gram"}, r"found cosine, expected some of correlation, pearson, gram"),
        ({"method.kind": "gram"}, r"found one choice \(gram\), expected two or more"),
        ({"student.name": "resnet20, resnet21"}, r"resnet21"),
    ],
)
def test_what_cannot_be_is_refused_in_words(ranges: dict[str, str], says: str) -> None:
    experiment = {"data": "digits", "teacher": "resnet8x4", "student": "resnet20", "method": "dcad"}
    with pytest.raises(BadInput, match=says):
        read({"name": "x", "experiment": experiment, "space": ranges})


def test_every_problem_of_a_plan_is_named_at_once() -> None:
    experiment = {"data": "digits", "student": "resnet20", "method": "byot"}
    dimensions = [
        each.model_copy(update={"on": False}) for each in space.offered(ExperimentSpec.from_mapping(experiment))
    ]
    with pytest.raises(BadInput) as refused:
        read(
            {
                "name": "no/name",
                "experiment": experiment,
                "space": [each.model_dump(mode="json") for each in dimensions],
                "metrics": ["f1", "latency_ms"],
                "limits": {"weight": 3},
                "pruner": "median",
            }
        )
    fields = {problem.field for problem in refused.value.problems}
    assert fields == {"name", "metrics", "limits.weight", "pruner", "space"}
    assert "there is no metric 'f1'; there are: accuracy, loss, ece" in str(refused.value)
    assert "is empty: tick at least one" in str(refused.value)


def test_another_student_starts_from_its_own_defaults() -> None:
    experiment = ExperimentSpec.from_mapping(
        {"data": "digits", "student": {"name": "resnet20_light", "groups": 2}, "method": "none"}
    ).model_dump(mode="json")
    assert experiment["student"]["groups"] == 2
    assert space.overlaid(experiment, {"student.name": "resnet20_light"})["student"]["groups"] == 2
    assert space.overlaid(experiment, {"student.name": "resnet20"})["student"] == {"name": "resnet20"}


def test_whole_numbers_stay_whole() -> None:
    dimensions = space.searched(
        space.edited(space.offered(spec_of("grkd")), {"method.meta_every": "2..20, log"}, only=True)
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = [space.suggest(study.ask(), dimensions, spec_of("grkd").model_dump(mode="json")) for _ in range(20)]
    assert all(isinstance(each["method.meta_every"], int) and 2 <= each["method.meta_every"] <= 20 for each in values)
    assert dimensions[0].points(4) == (2, 4, 9, 20)


def test_trials_are_not_looked_at_unless_somebody_wants_it() -> None:
    experiment = {"data": "digits", "teacher": "resnet8x4", "student": "resnet20", "method": "kd"}
    ranges = {"method.temperature": "1..8"}
    plain = read({"name": "x", "experiment": experiment, "space": ranges})
    assert plain.spec({"method.temperature": 2.0}, 0).runtime.inspect == 0
    wanted = read({"name": "x", "experiment": experiment | {"runtime": {"inspect": 2}}, "space": ranges})
    assert wanted.spec({"method.temperature": 2.0}, 0).runtime.inspect == 2
