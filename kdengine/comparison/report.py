"""The table of a comparison: what each arm reaches, what it gains over the student alone, and what that is worth."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kdengine import health
from kdengine.comparison.plan import ALONE, SOFT_TARGETS, Plan, Search
from kdengine.comparison.progress import Progress, measured
from kdengine.comparison.statistics import (
    Difference,
    Spread,
    holm,
    paired_difference,
    seeds_to_decide,
    spread,
)
from kdengine.errors import DamagedFile
from kdengine.workspace import files
from kdengine.workspace.rundir import RunDirectory

NUMBERS = re.compile(r"[\d.]+")


@dataclass(frozen=True)
class Gain:
    """An arm against another one, over the seeds that both have, in points of test accuracy.

    Attributes:
        to: the other arm.
        difference: paired by seed.
        holds: whether it also holds when all arms are judged together (Holm).
        seeds: how many seeds would decide, were the differences to go on like this; None: a thousand would not.
    """

    to: str
    difference: Difference
    holds: bool
    seeds: int | None

    @property
    def verdict(self) -> str:
        """In words: helps, hurts, or not decided, and what would decide it."""
        if self.difference.verdict != "not decided":
            return self.difference.verdict
        if self.difference.n < 2:
            return "not decided: one seed says nothing"
        more = f"about {self.seeds} seeds would" if self.seeds else "no number of seeds within reach would"
        return f"not decided: {more}"


@dataclass(frozen=True)
class Row:
    """One arm. Accuracies are percent; None where no run has the number yet.

    Attributes:
        name: of the arm.
        wanted: how many seeds the plan asks for.
        best, last: test accuracy of the weights best by validation, and of the last.
        validation: best validation accuracy.
        gain, gain_to_kd: against the baseline and against soft targets; None without two to compare.
        ece: expected calibration error, percent.
        agreement: with the teacher, percent.
        kl: to the teacher, nats.
        minutes: of training.
        milliseconds: an image alone on one CPU thread.
        parameters, macs: of what is deployed.
        per_class: mean test accuracy of each class, percent.
        runs: the finished runs, by seed.
        search: what a tuned arm is tuned by; None for the others.
    """

    name: str
    wanted: int
    best: Spread | None = None
    last: Spread | None = None
    validation: Spread | None = None
    gain: Gain | None = None
    gain_to_kd: Gain | None = None
    ece: Spread | None = None
    agreement: Spread | None = None
    kl: Spread | None = None
    minutes: Spread | None = None
    milliseconds: Spread | None = None
    parameters: int | None = None
    macs: int | None = None
    per_class: tuple[float, ...] = ()
    runs: dict[int, str] = field(default_factory=dict)
    search: Search | None = None


@dataclass(frozen=True)
class Report:
    """A comparison as a table.

    Attributes:
        plan: what is compared.
        rows: the arms in the plan's order; the shared teacher by itself first, where there is one.
        baseline: the arm that gains are measured against: the student alone, or the first where no arm is that. A
            tuned arm is measured against the tuned one of it, and against tuned soft targets.
        classes: names, for the table by class.
        hardware: where the runs ran, each device once.
        finished, failed, total: counts of runs.
        doubts: what makes numbers of an arm hard to believe, a sentence each with how many of its runs it is true of.
    """

    plan: Plan
    rows: tuple[Row, ...]
    baseline: str
    classes: tuple[str, ...]
    hardware: tuple[str, ...]
    finished: int
    failed: int
    total: int
    doubts: tuple[str, ...] = ()

    @property
    def against(self) -> str:
        """The baseline in words."""
        return "the student alone" if self.baseline == ALONE else self.baseline

    def _repr_html_(self) -> str:
        """The table of a notebook, with its notes."""
        from kdengine.comparison import tables

        notes = "".join(f"<p>{html.escape(note)}</p>" for note in tables.notes(self))
        return tables.html_table(tables.columns(self, brief=True), tables.rows(self, brief=True)) + notes

    def plot(self) -> Any:
        """A Plotly figure: the gain of each arm over the baseline, with its 95 % interval, in points."""
        from kdengine.comparison import tables
        from kdengine.figures import comparison

        return comparison.gains(tables.report_gains(self), self.against)


def report(now: Progress) -> Report:
    """Reads the finished runs of a comparison; what is still to come is left out."""
    done = {arm.name: _finished(now, arm.name) for arm in now.plan.arms}
    best = {arm: {seed: _test(run, "best") for seed, run in runs.items()} for arm, runs in done.items()}
    baseline = ALONE if ALONE in done or now.plan.tuned(ALONE) else now.plan.arms[0].name
    alone = _references(now.plan, baseline)
    gains = _gains(best, alone)
    to_kd = _gains(best, {arm: kd for arm, kd in _references(now.plan, SOFT_TARGETS).items() if arm in alone})
    rows = [
        replace(_row(arm.name, len(now.plan.seeds), runs, gains.get(arm.name), to_kd.get(arm.name)), search=arm.search)
        for arm, runs in zip(now.plan.arms, done.values(), strict=True)
    ]
    if isinstance(now.teacher, RunDirectory):
        rows.insert(0, _row("teacher", 1, {0: now.teacher}, None, None))
    elif now.teacher is not None:
        rows.insert(0, _imported_row(now.teacher.id, [run for found in done.values() for run in found.values()]))
    runs = [run for found in done.values() for run in found.values()]
    return Report(
        plan=now.plan,
        rows=tuple(rows),
        baseline=baseline,
        classes=tuple(_classes(runs[0])) if runs else (),
        hardware=tuple(sorted({_hardware(run) for run in runs})),
        finished=len(runs),
        failed=now.count("failed", "lost"),
        total=len(now.cells),
        doubts=(
            *(doubt for arm, found in done.items() for doubt in _doubts(arm, list(found.values()))),
            *(doubt for arm in now.plan.arms for doubt in _lucky(arm.search, list(done[arm.name].values()))),
        ),
    )


def _doubts(arm: str, runs: Sequence[RunDirectory]) -> Iterator[str]:
    """What the runs of an arm have in common; numbers within a sentence are those of the first."""
    found: dict[str, list[health.Finding]] = {}
    for run in runs:
        for each in health.kept(run.status()):
            found.setdefault(NUMBERS.sub("", each.what), []).append(each)
    for alike in found.values():
        yield f"{arm}, {len(alike)} of {len(runs)} runs: {alike[0].what} {alike[0].remedy}"


def _lucky(search: Search | None, runs: Sequence[RunDirectory]) -> Iterator[str]:
    """Whether what a search promises over the defaults is less than its validation images can tell apart."""
    images = max((int((run.status().get("data") or {}).get("validation") or 0) for run in runs), default=0)
    if search is None or search.default is None or not images:
        return
    promised, tells = search.validation - search.default, health.resolution(search.validation, images)
    if 0 < promised < tells:
        yield (
            f"{search.arm}, tuned: the search promises {100 * promised:.1f} points on {images} validation images, "
            f"which cannot tell apart less than {100 * tells:.1f}. It may be luck: the seeds on test decide."
        )


def _finished(now: Progress, arm: str) -> dict[int, RunDirectory]:
    """The finished runs of an arm by seed."""
    return {cell.cell.seed: cell.run for cell in now.of(arm) if cell.finished and cell.run is not None}


def _references(plan: Plan, to: str) -> dict[str, str]:
    """Each arm and the one that it is measured against: as asked for against ``to``, tuned against tuned ``to``.

    A method that was searched for is not held against a student that was not.
    """
    tuned = plan.tuned(to)
    found = {arm.name: (tuned.name if tuned else "") if arm.search else to for arm in plan.arms}
    return {arm: other for arm, other in found.items() if other and other != arm}


def _gains(best: dict[str, dict[int, float]], references: dict[str, str]) -> dict[str, Gain]:
    differences = {}
    for arm, to in references.items():
        baseline = best.get(to, {})
        both = sorted(set(best[arm]) & set(baseline))
        if both:
            differences[arm] = paired_difference([best[arm][s] for s in both], [baseline[s] for s in both])
    holds = holm([difference.p for difference in differences.values()])
    return {
        arm: Gain(references[arm], gap, hold, seeds_to_decide(gap.mean, gap.deviation) if gap.n > 1 else None)
        for (arm, gap), hold in zip(differences.items(), holds, strict=True)
    }


def _row(name: str, wanted: int, runs: dict[int, RunDirectory], gain: Gain | None, to_kd: Gain | None) -> Row:
    if not runs:
        return Row(name, wanted)
    there = list(runs.values())
    statuses = [run.status() for run in there]
    more = [measured(run) for run in there]
    size = next((numbers for numbers in more if numbers), {})
    return Row(
        name=name,
        wanted=wanted,
        best=spread([_test(run, "best") for run in there]),
        last=spread([_test(run, "last") for run in there]),
        validation=_spread_of(statuses, lambda status: 100 * status["best"]["accuracy"]),
        gain=gain,
        gain_to_kd=to_kd,
        ece=_spread_of(statuses, lambda status: 100 * status["test"]["best"]["ece"]),
        agreement=_spread_of(more, lambda numbers: 100 * numbers["agreement"]),
        kl=_spread_of(more, lambda numbers: numbers["kl"]),
        minutes=_spread_of(statuses, lambda status: (status["ended"] - status["started"]) / 60),
        milliseconds=_spread_of(more, lambda numbers: numbers["milliseconds"]),
        parameters=size.get("parameters"),
        macs=size.get("macs"),
        per_class=_per_class(statuses),
        runs={seed: run.id for seed, run in runs.items()},
    )


def _imported_row(teacher: str, runs: Sequence[RunDirectory]) -> Row:
    """The teacher by itself, where no run made it: its accuracy was measured with its students'."""
    same = [numbers for numbers in map(measured, runs) if numbers.get("teacher") == teacher]
    accuracy = _spread_of(same[:1], lambda numbers: 100 * numbers["teacher_accuracy"])
    return Row("teacher", 1, best=accuracy, last=accuracy)


def _spread_of(sources: Sequence[dict[str, Any]], number: Callable[[dict[str, Any]], float]) -> Spread | None:
    values = []
    for source in sources:
        try:
            values.append(float(number(source)))
        except (KeyError, TypeError):
            continue
    finite = [value for value in values if math.isfinite(value)]
    return spread(finite) if finite else None


def _test(run: RunDirectory, weights: str) -> float:
    return 100 * float(run.status()["test"][weights]["accuracy"])


def _per_class(statuses: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    tables = [status["per_class"] for status in statuses if status.get("per_class")]
    return tuple(100 * sum(column) / len(column) for column in zip(*tables, strict=True))


def _classes(run: RunDirectory) -> list[str]:
    try:
        return list((files.read_json(run.card_file) or {}).get("classes") or ())
    except DamagedFile:
        return []


def _hardware(run: RunDirectory) -> str:
    environment = run.environment()
    return f"{environment.get('device_name', 'unknown')}, torch {environment.get('packages', {}).get('torch', '?')}"
