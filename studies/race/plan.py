"""What a race is: an experiment, the methods that begin, and the hours that it may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError, field_validator
from pydantic_core import PydanticCustomError

from kdengine.comparison.plan import ALONE, NAME, SEARCH_SEED, Arm, Plan, Tuning, make_plan
from kdengine.errors import BadInput, DamagedFile, Problem
from kdengine.jobs.job import RACE_PREFIX
from kdengine.spec.fields import Settings, setting
from kdengine.workspace import files
from studies.race import course
from studies.race.course import Heat, Split

SEEDS = 5
LONGEST = 36
CONTROL = "control"
"""Where a name stands, this word begins the process of a race: no race is called so."""


class RacePlan(Settings):
    """A race, described completely.

    Attributes:
        name: of the race; the comparison of its finalists has the same.
        experiment: what all methods share, a mapping of `ExperimentSpec` with every default written out.
        methods: that begin, each with its defaults; the student alone runs beside them and is never left out.
        hours: that it may take with the slots of this machine, its teacher's training not counted.
        seeds: fresh ones, of each finalist; fewer where the hours are too short.
        rates: seconds of an epoch, by method, as forecast when it began.
    """

    kind: Literal["race"] = "race"
    name: str = setting(..., title="Name", description="Letters, digits, '.', '_' and '-'.")
    experiment: dict[str, Any] = setting(..., title="Experiment", description="What all methods share.")
    methods: tuple[str, ...] = setting(..., title="Methods", description="That begin.", min_length=1)
    hours: float = setting(..., title="Hours", description="That it may take.", gt=0, le=10000)
    seeds: int = setting(SEEDS, title="Seeds", description="Fresh ones, of each finalist.", ge=2, le=100)
    rates: dict[str, float] = setting({}, title="Rates", description="Seconds of an epoch, by method.")

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not NAME.match(name) or len(name) > LONGEST or name == CONTROL:
            raise PydanticCustomError(
                "name", "found {name}, expected letters, digits, '.', '_', '-', {most} at most",
                {"name": repr(name), "most": str(LONGEST)},
            )  # fmt: skip
        return name

    @property
    def job_id(self) -> str:
        """Id of the job that steers it, whose folder is the race's."""
        return f"{RACE_PREFIX}{self.name}"

    @property
    def epochs(self) -> int:
        """Of a whole run."""
        return int(self.experiment["recipe"]["epochs"])

    @property
    def heats(self) -> tuple[Heat, ...]:
        """What brings the methods down to those that are tuned."""
        return course.heats(len(self.methods), self.epochs)

    def heat(self, number: int, methods: Sequence[str]) -> Plan:
        """The runs of a heat, 0 the first: these methods and the student alone, once each.

        Raises:
            BadInput: a method cannot be run so.
        """
        recipe = course.shortened(self.experiment["recipe"], self.heats[number].epochs)
        # Nobody inspects a heat.
        common = self.experiment | {"recipe": recipe, "runtime": self.experiment["runtime"] | {"inspect": 0}}
        return self._plan(f"{self.name}.heat-{number + 1}", common, methods, (SEARCH_SEED,))

    def searched(self, methods: Sequence[str], split: Split) -> Plan:
        """The survivors and the student alone, each to be searched for so many epochs, 0: not at all; and the seeds
        of the final, which is all that they are for."""
        tuning = Tuning(epochs=split.tuning_epochs) if split.tuning_epochs else None
        return self._plan(self.name, self.experiment, methods, range(split.seeds)).changed(tuning=tuning)

    def final(self, arms: Sequence[Arm], seeds: int) -> Plan:
        """The comparison of the finalists, on seeds that no heat and no search has seen."""
        return Plan(name=self.name, common=self.experiment, arms=tuple(arms), seeds=tuple(range(seeds)))

    def _plan(self, name: str, common: Mapping[str, Any], methods: Sequence[str], seeds: Sequence[int]) -> Plan:
        return make_plan(name, common, methods, seeds, cutmix=False)

    def to_yaml(self) -> str:
        """The plan as text."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def make_race(name: str, mapping: Mapping[str, Any], methods: Sequence[str], hours: float, seeds: int) -> RacePlan:
    """A race from what a person has asked for; its rates are still to be forecast.

    Raises:
        BadInput: every problem at once.
    """
    entrants = tuple(dict.fromkeys(method for method in methods if method != ALONE))
    problems = [] if entrants else [Problem("methods", "found none; name at least one, or leave them out for all")]
    shared: Plan | None = None
    try:
        shared = make_plan("race", mapping, entrants, (0,), cutmix=False)
    except BadInput as error:
        problems += error.problems
    experiment = shared.common if shared is not None else {"recipe": {"epochs": 1}}
    values = {"name": name, "experiment": experiment, "methods": entrants or (ALONE,), "hours": hours, "seeds": seeds}
    try:
        race = RacePlan.model_validate(values)
    except ValidationError as error:
        problems += [Problem(".".join(map(str, item["loc"])) or "name", item["msg"]) for item in error.errors()]
    if problems:
        raise BadInput(problems)
    return race


def read_race(folder: Path) -> RacePlan:
    """The race of a job's folder; raises BadInput where it is none."""
    file = folder / "spec.yaml"
    try:
        return RacePlan.model_validate(files.read_yaml(files.read_text(file, "YAML")))
    except FileNotFoundError as error:
        raise BadInput(Problem("race", f"there is no race {folder.name.removeprefix(RACE_PREFIX)!r}")) from error
    except (yaml.YAMLError, ValidationError, DamagedFile) as error:
        raise BadInput(Problem("race", f"{file} is not the plan of a race: {error}")) from error
