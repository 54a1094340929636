"""How a race stands: read from its folder, the queue and the runs; nothing is kept that can be read again.

The plan of each stage is written once, when that begins (`heat-1.json`, ..., `tuning.json`), and says what was decided;
the comparison of the finalists is one like any other. To look needs neither torch nor Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import ValidationError

from kdengine.comparison.plan import ALONE, NAME, Arm, Plan
from kdengine.comparison.progress import CellState, Progress, progress_of_all
from kdengine.comparison.searches import FOUND, ArmSearch, searches
from kdengine.comparison.stored_plans import load_plan, plan_file
from kdengine.errors import BadInput, DamagedFile, Problem
from kdengine.jobs import JobStore
from kdengine.jobs.job import RACE_PREFIX
from kdengine.workspace import Workspace, files
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State
from studies.race import course
from studies.race.course import Finalist, Heat, Verdict
from studies.race.plan import RacePlan, read_race

TUNING = "tuning"


@dataclass(frozen=True)
class HeatState:
    """A heat that has begun.

    Attributes:
        heat: its length and who stays.
        now: its runs.
        accuracy: best validation accuracy (0..1) of each method that has finished.
        dropped: why a method has no accuracy and gets none.
    """

    heat: Heat
    now: Progress
    accuracy: Mapping[str, float]
    dropped: Mapping[str, str]

    @property
    def over(self) -> bool:
        """Whether every run has ended."""
        return len(self.accuracy) + len(self.dropped) == len(self.now.cells)

    @property
    def staying(self) -> tuple[str, ...]:
        """The best methods, the best first, without the student alone; () before the end."""
        if not self.over:
            return ()
        order = [name for name in course.ranked(self.accuracy) if name != ALONE]
        return tuple(order[: self.heat.stay])


@dataclass(frozen=True)
class Standing:
    """A race as it is now.

    Attributes:
        race: what it is.
        state: of the job that steers it.
        message: why that has ended so.
        heats: those that have begun.
        tuning: the plan of the searches, with what was found so far; None before they begin.
        searches: of each survivor and of the student alone.
        final: the comparison of the finalists; None before it begins.
    """

    race: RacePlan
    state: State
    message: str = ""
    heats: tuple[HeatState, ...] = ()
    tuning: Plan | None = None
    searches: tuple[ArmSearch, ...] = ()
    final: Progress | None = None

    @property
    def survivors(self) -> tuple[str, ...]:
        """Methods that no heat has left behind, the best of the last heat first."""
        return self.heats[-1].staying if self.heats else self.race.methods

    @property
    def heats_over(self) -> bool:
        """Whether there is no heat to come."""
        return len(self.heats) == len(self.race.heats) and all(each.over for each in self.heats)

    @property
    def over(self) -> bool:
        """Whether the finalists have run."""
        return self.final is not None and not self.final.under_way

    @cached_property
    def accuracies(self) -> dict[str, dict[int, tuple[float, float]]]:
        """Validation and test accuracy (percent) by seed, of the finished runs of the final, by method."""
        if self.final is None:
            return {}
        return {_method(arm): _by_seed(self.final, arm.name) for arm in self.final.plan.arms}

    def finalist(self, method: str) -> Finalist | None:
        """A method beside the student alone, on the seeds that both have finished; None where there is none."""
        own, alone = self.accuracies.get(method, {}), self.accuracies.get(ALONE, {})
        both = sorted(own.keys() & alone.keys())
        if not both:
            return None
        validation, test = zip(*(own[seed] for seed in both), strict=True)
        return Finalist(validation, test, [alone[seed][1] for seed in both])

    @cached_property
    def verdict(self) -> Verdict | None:
        """Who is first and whether that is shown; None before the end, and where there is nothing to compare."""
        if self.final is None or not self.over:
            return None
        found = {name: each for name in finalists(self.final.plan) if (each := self.finalist(name)) is not None}
        return course.verdict(found) if found else None

    @property
    def winner(self) -> RunDirectory | None:
        """The run to export: of the first method, the one best by validation; None before the verdict."""
        if self.verdict is None or self.final is None:
            return None
        own = self.accuracies[self.verdict.first]
        best = max(own, key=lambda seed: own[seed][0])
        arm = next(arm.name for arm in self.final.plan.arms if _method(arm) == self.verdict.first)
        return next(cell.run for cell in self.final.of(arm) if cell.cell.seed == best)


def finalists(plan: Plan) -> list[str]:
    """The methods of a final, without the student alone."""
    return [name for name in map(_method, plan.arms) if name != ALONE]


def _method(arm: Arm) -> str:
    """Of an arm, tuned or not."""
    return arm.search.arm if arm.search else arm.name


def races(workspace: Workspace) -> list[str]:
    """Names of all races, the newest first."""
    return [job.id.removeprefix(RACE_PREFIX) for job in JobStore(workspace).jobs() if job.kind == "race"]


def load_race(name: str, workspace: Workspace) -> RacePlan:
    """The race of that name; raises BadInput where there is none, naming those that there are."""
    if not NAME.match(name) or JobStore(workspace).find(f"{RACE_PREFIX}{name}") is None:
        known = ", ".join(races(workspace)) or "none yet"
        raise BadInput(Problem("race", f"there is no race {name!r}; there are: {known}"))
    return read_race(workspace.run(f"{RACE_PREFIX}{name}").path)


def standing(race: RacePlan, workspace: Workspace) -> Standing:
    """How the race stands."""
    job = JobStore(workspace).find(race.job_id)
    state, message = (job.state, job.message or "") if job is not None else (State.LOST, "its job is gone")
    folder = workspace.run(race.job_id).path
    begun = [plan for number in range(len(race.heats)) if (plan := stage(folder, f"heat-{number + 1}")) is not None]
    tuning = stage(folder, TUNING)
    there = tuning is not None and plan_file(workspace, race.name).is_file()
    looked = progress_of_all([*begun, *([load_plan(workspace, race.name)] if there else [])], workspace)
    heats = tuple(_heat(heat, now) for heat, now in zip(race.heats, looked[: len(begun)], strict=False))
    found = searches(tuning, workspace) if tuning is not None else ()
    return Standing(race, state, message, heats, tuning, found, looked[-1] if there else None)


def stage(folder: Path, name: str) -> Plan | None:
    """The plan of a stage; None before it begins."""
    file = stage_file(folder, name)
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return _read_stage(file, found.st_mtime_ns, found.st_ino)


def stage_file(folder: Path, name: str) -> Path:
    """Where the plan of a stage is kept."""
    return folder / f"{name}.json"


@lru_cache(maxsize=64)
def _read_stage(file: Path, written: int, inode: int) -> Plan:
    """Read once, however often a page looks: to check a plan takes longer than to look how its runs stand."""
    try:
        return Plan.model_validate(files.read_json(file))
    except ValidationError as error:
        raise DamagedFile(f"{file} is damaged: it is not the plan of a stage ({error})") from error


def dropped(plan: Plan, found: tuple[ArmSearch, ...]) -> dict[str, str]:
    """Survivors whose search has ended without a result, and why."""
    if plan.tuning is None:
        return {}
    return {each.arm: each.message or each.state for each in found if not each.under_way and each.state != FOUND}


def _heat(heat: Heat, now: Progress) -> HeatState:
    accuracy = {cell.cell.arm: _validation(cell) for cell in now.cells if cell.finished}
    ended = [cell for cell in now.cells if not cell.finished and _has_ended(cell)]
    return HeatState(heat, now, accuracy, {cell.cell.arm: cell.message or str(cell.state) for cell in ended})


def _has_ended(cell: CellState) -> bool:
    return cell.blocked_by is not None or (cell.state in set(State) and State(cell.state).ended)


def _validation(cell: CellState) -> float:
    best = cell.run.status().get("best") or {} if cell.run is not None else {}
    value = best.get("accuracy")
    return float(value) if isinstance(value, int | float) else math.nan


def _by_seed(now: Progress, arm: str) -> dict[int, tuple[float, float]]:
    found = {}
    for cell in now.of(arm):
        if cell.finished and cell.run is not None:
            test = (cell.run.status().get("test") or {}).get("best") or {}
            found[cell.cell.seed] = (100 * _validation(cell), 100 * float(test.get("accuracy", math.nan)))
    return found


def tuned_arms(plan: Plan, methods: tuple[str, ...]) -> list[Arm]:
    """The arms of the final: the student alone and the best methods, each with what its search has found.

    Without searches the methods are taken in the order in which they come from the heats.
    """
    if plan.tuning is None:
        order = list(methods)
        arms = {arm.name: arm for arm in plan.arms}
    else:
        arms = {arm.search.arm: arm for arm in plan.arms if arm.search is not None}
        order = course.ranked({name: _promised(arms[name]) for name in methods if name in arms})
    return [arms[ALONE], *(arms[name] for name in order[: course.FINALISTS])]


def _promised(arm: Arm) -> float:
    assert arm.search is not None
    return arm.search.validation
