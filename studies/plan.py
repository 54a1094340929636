"""What a study is: an experiment, the space around it, what counts as better, and how much it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import yaml
from pydantic import ValidationError, model_validator
from pydantic_core import PydanticCustomError

from kdengine.comparison.plan import NAME
from kdengine.errors import BadInput, Problem
from kdengine.jobs.job import STUDY_PREFIX
from kdengine.spec import ExperimentSpec, RuntimeSpec
from kdengine.spec.fields import Settings, setting
from studies import space
from studies.space import Dimension, Value

# What a trial is judged by: of the epoch that is best by validation, never of the test images; and what it costs.
LEARNT = {"accuracy": "maximize", "loss": "minimize", "ece": "minimize"}
COSTS = {"latency_ms": "minimize", "parameters": "minimize", "macs": "minimize"}
METRICS = LEARNT | COSTS
LOOKS = RuntimeSpec.model_fields["inspect"].default


class Budget(Settings):
    """When a study ends by itself: whichever comes first. What is under way then is finished.

    Attributes:
        trials: that are complete or pruned; failed ones do not count.
        hours: that the study is at work; pauses do not count.
        job_hours: of all its runs together, GPU hours where there are GPUs.
        epochs: that the complete or pruned trials have trained together.
    """

    trials: int | None = setting(20, title="Trials", description="Complete or pruned ones.", ge=1, le=100000)
    hours: float | None = setting(None, title="Hours", description="At work; pauses do not count.", gt=0)
    job_hours: float | None = setting(None, title="GPU hours", description="Of all runs together.", gt=0)
    epochs: int | None = setting(None, title="Epochs", description="Of all trials together.", ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.trials is None and self.hours is None and self.job_hours is None and self.epochs is None:
            raise PydanticCustomError("budget", "without an end: give trials, hours, GPU hours or epochs", {})
        return self


class StudyPlan(Settings):
    """A study, described completely.

    Attributes:
        name: of the study, and of its job.
        experiment: a mapping of `ExperimentSpec` with every default written out.
        space: every tunable setting; the ticked ones are searched.
        metrics: the first is what pruning and "best" mean; with several Optuna searches the Pareto front.
        seeds: of each trial; the mean is reported.
        sampler, pruner: by Optuna's names.
        startup: trials before the pruner judges, and those that the samplers draw at random.
        patience: epochs that no trial is pruned before.
        grid_points: of a range, for the sampler "grid".
        limits: of the costs; a student beyond them is not trained.
        parallel: runs at once; 0 = as many as there are slots.
        sampler_seed: two studies with the same one, in which nothing else differs, draw the same first values; None:
            each study asks its own, by its name, so that a second one on the same pair sees other points.
        earlier: whether the best values of earlier studies on the same pair are tried too.
        comparison: that the study searches an arm of; "" for a study by itself.
    """

    kind: Literal["study"] = "study"
    name: str = setting(..., title="Name", description="Letters, digits, '.', '_' and '-'.")
    experiment: dict[str, Any] = setting(..., title="Experiment", description="Trials change its values.")
    space: tuple[Dimension, ...] = setting(..., title="Space", description="What is searched.")
    metrics: tuple[str, ...] = setting(("accuracy",), title="Metrics", description="What is optimised.", min_length=1)
    seeds: tuple[int, ...] = setting((0,), title="Seeds", description="Of each trial.", min_length=1)
    sampler: Literal["tpe", "random", "grid", "cmaes", "gp"] = setting(
        "tpe", title="Sampler", description="How the next values are chosen."
    )
    pruner: Literal["median", "hyperband", "none"] = setting(
        "median", title="Pruner", description="Which trials are pruned."
    )
    startup: int = setting(5, title="Start-up trials", description="Before pruning begins.", ge=1, le=1000)
    patience: int = setting(1, title="Patience", unit="epochs", description="No trial is pruned before.", ge=0, le=2000)
    grid_points: int = setting(4, title="Grid points", description="Of a range, for the grid.", ge=2, le=100)
    limits: dict[str, float] = setting({}, title="Limits", description="Largest cost of the student.")
    budget: Budget = setting(Budget(), title="Budget", description="When it ends.")
    parallel: int = setting(0, title="At once", description="Runs at once; 0 = one for each slot.", ge=0, le=1000)
    sampler_seed: int | None = setting(
        None, title="Sampler seed", description="Of the sampler; empty: by the study's name.", ge=0, lt=2**31
    )
    earlier: bool = setting(True, title="Earlier studies", description="Their best values are tried too.")
    comparison: str = setting("", title="Comparison", description="That the study searches an arm of.")

    @property
    def job_id(self) -> str:
        """Id of the controller's job, whose folder is the study's."""
        return f"{STUDY_PREFIX}{self.name}"

    @property
    def searched(self) -> tuple[Dimension, ...]:
        """The ticked dimensions."""
        return space.searched(self.space)

    @property
    def directions(self) -> list[str]:
        """Of each metric."""
        return [METRICS[metric] for metric in self.metrics]

    @property
    def signs(self) -> list[int]:
        """1 for each metric of which more is better, -1 for the others."""
        return [1 if direction == "maximize" else -1 for direction in self.directions]

    @property
    def points(self) -> dict[str, tuple[Value, ...]]:
        """Of the grid; {} for every other sampler."""
        return space.grid(self.searched, self.experiment, self.grid_points) if self.sampler == "grid" else {}

    def holds(self, path: str, value: Any) -> bool:
        """Whether a searched setting may have this value in a trial."""
        if self.points:
            return value in self.points[path]
        return next(each for each in self.searched if each.field == path).holds(value)

    @property
    def pair(self) -> str:
        """Names data, teacher, student and method: studies of the same can learn from each other."""
        spec = ExperimentSpec.from_mapping(self.experiment)
        return " ".join((spec.data.name, spec.teacher_label() or "none", spec.student.name, spec.method.name))

    def run_id(self, root: int, seed: int) -> str:
        """Of the run of a trial; the same each time, so that no crash can start it twice."""
        return f"{self.name}-t{root:04d}" + (f"-s{seed}" if len(self.seeds) > 1 else "")

    def spec(self, values: Mapping[str, Any], seed: int, title: str = "") -> ExperimentSpec:
        """The experiment of one trial and seed; raises BadInput."""
        mapping = space.overlaid(self.experiment, values)
        runtime = dict(mapping["runtime"])
        if runtime.get("replay", "auto") == "auto":
            # Trials of one seed see the same views: the teacher logits that one has cached, the others read.
            runtime["replay"] = "on"
        if runtime.get("inspect", LOOKS) == LOOKS:
            # Nobody inspects dozens of trials; those that are kept can be inspected afterwards.
            runtime["inspect"] = 0
        return ExperimentSpec.from_mapping(mapping | {"runtime": runtime, "seed": seed, "title": title})

    def to_yaml(self) -> str:
        """The plan as text."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read(mapping: Mapping[str, Any]) -> StudyPlan:
    """A plan from a mapping; its experiment may be short, its space left out or given as path -> range.

    Raises:
        BadInput: every problem at once.
    """
    values = dict(mapping)
    given = values.get("space", {})
    try:
        spec = ExperimentSpec.from_mapping(values.get("experiment") or {})
    except BadInput as error:
        raise BadInput([Problem(f"experiment.{each.field}", each.message) for each in error.problems]) from error
    values["experiment"] = spec.model_dump(mode="json")
    if isinstance(given, Mapping):
        ranges = {path: "" if text is None else str(text) for path, text in given.items()}
        values["space"] = space.edited(space.offered(spec), ranges, only=bool(ranges))
    try:
        plan = StudyPlan.model_validate(values)
    except ValidationError as error:
        raise BadInput([Problem(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]) from error
    found = check(plan)
    if found:
        raise BadInput(found)
    return plan


def check(plan: StudyPlan) -> list[Problem]:
    """What is wrong with a plan, in words."""
    found = []
    if not NAME.match(plan.name):
        message = f"found {plan.name!r}, expected letters, digits, '.', '_', '-', 48 at most"
        found.append(Problem("name", message))
    known = ", ".join(METRICS)
    found += [
        Problem("metrics", f"there is no metric {metric!r}; there are: {known}")
        for metric in plan.metrics
        if metric not in METRICS
    ]
    if len(set(plan.metrics)) < len(plan.metrics):
        found.append(Problem("metrics", f"found one twice in {', '.join(plan.metrics)}"))
    if plan.metrics[0] in COSTS:
        found.append(Problem("metrics", f"the first must be something learnt: {', '.join(LEARNT)}"))
    found += [
        Problem(f"limits.{name}", f"expected one of {', '.join(COSTS)} and a number above 0, found {limit:g}")
        for name, limit in plan.limits.items()
        if name not in COSTS or limit <= 0
    ]
    if len(plan.metrics) > 1 and plan.pruner != "none":
        found.append(Problem("pruner", "with several metrics no trial can be pruned; choose none"))
    if len(plan.metrics) > 1 and plan.sampler in ("cmaes", "gp"):
        found.append(Problem("sampler", f"{plan.sampler} takes one metric only; choose tpe, random or grid"))
    if len(set(plan.seeds)) < len(plan.seeds):
        found.append(Problem("seeds", "found one twice"))
    return found + space.problems(plan.space, plan.experiment)
