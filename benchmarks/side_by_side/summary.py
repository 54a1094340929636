"""All machines beside each other: for each arm the worst and the best, the goals on each, and the table of a page.

The page is docs/results/speed.md.

A number of one machine says little of the next. Whoever reads a table finds where the engine gains least, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from kdengine.bench import report
from kdengine.workspace.files import atomic_path
from side_by_side import results
from side_by_side.goals import (
    AGAIN,
    BF16_COMPILED,
    BF16_TEACHER_COMPILED,
    CACHED,
    COMPILED,
    ENGINE,
    GATHER,
    GATHER_COMPILED,
    TIMM_COMPILED,
    TORCHDISTILL,
    Goal,
    Part,
    goals,
)

SUITES = ("cpu", "gpu")
PAGE = Path(__file__).parents[2] / "docs" / "results" / "speed.md"
RESULTS_FROM_PAGE = "../../benchmarks/results/"
BEGIN, END = "<!-- speed: begin; written by python benchmarks/speed.py --summary -->", "<!-- speed: end -->"
NONE = "–"

COLUMNS = {
    "torchdistill": (TORCHDISTILL,),
    "timm's task, compiled": (TIMM_COMPILED,),
    "this engine": (ENGINE,),
    "compiled": (COMPILED,),
    "bfloat16, compiled": (BF16_COMPILED, BF16_TEACHER_COMPILED),
    "cached teacher logits, fp32, compiled": (CACHED,),
}
"""The page's columns; of the arms of a column a processor has one."""
_FORMS = {
    "resnet34 -> mobilenetv3_small": ", our form for 32 px",
    "resnet34 -> torchvision/mobilenet_v3_small": ", as published",
}

_CLOCKS = {"cpu": "CPU time", "gpu": "the wall clock"}

Machines = dict[str, list[Part]]


class Reading(NamedTuple):
    """How many times as fast as the first arm of its part an arm was on a machine, in each round."""

    machine: str
    ratios: list[float]

    @property
    def median(self) -> float:
        """Over the rounds."""
        return statistics.median(self.ratios)


def write(suite: str) -> None:
    """The summary of a suite, and the page's table where it is the CPU's; nothing where no machine has run it."""
    machines = results.machines(suite)
    if not machines:
        return
    with atomic_path(results.RESULTS / f"speed_{suite}.md") as path:
        path.write_text(summary(suite, machines))
    if suite == "cpu":
        text = with_block(PAGE.read_text(), block(machines))
        with atomic_path(PAGE) as path:
            path.write_text(text)


def write_tables(suite: str) -> None:
    """The table of every machine, from its numbers."""
    for slug, parts in results.machines(suite).items():
        results.write_table(suite, slug, parts)


def summary(suite: str, machines: Machines) -> str:
    """All machines of a suite: what they are, worst and best of every arm, goals."""
    lines = [
        f"# Speed side by side ({suite}): worst and best machine",
        "",
        f"Put together by `python benchmarks/speed.py --summary` from the numbers in `speed_{suite}/`. Ratios are how "
        f"many times as fast as the first arm of a part, within each round, by {_CLOCKS[suite]}: median "
        "[lowest-highest].",
        "",
        report.markdown(("machine", "part", "torch", "measured", "load", "A/A"), _measured(suite, machines)),
        "",
    ]
    for pair in _pairs(machines):
        lines += [f"## {pair}", "", report.markdown(("arm", "worst", "on", "best", "on"), _arms(suite, machines, pair))]
        lines += [""]
    lines += ["## What was wanted, machine by machine", "", _judged(suite, machines)]
    return "\n".join(lines) + "\n"


def block(machines: Machines) -> str:
    """The page's table of the CPU suite: for each pair the machine on which the engine gains least, and most."""
    rows = []
    for pair in _pairs(machines):
        if " -> " not in pair:
            continue
        found = _readings("cpu", machines, pair, ENGINE)
        ends = {"only": found[0]} if len(found) == 1 else {"worst": found[0], "best": found[-1]}
        name = pair.split(",")[0]
        for word, reading in ends.items():
            part = _part(machines[reading.machine], pair)
            label = f"{name}{_FORMS.get(name, '')}" if word != "best" else ""
            rows.append((label, f"{word}: {reading.machine}", *(_cell(part, arms) for arms in COLUMNS.values())))
    lines = [
        report.markdown(("pair", "processor", *COLUMNS), rows),
        "",
        "Worst and best go by the engine as it is by default, over all processors that were measured "
        f"({', '.join(_link('cpu', slug, RESULTS_FROM_PAGE) for slug in machines)}).",
        *_data_path(machines),
        *_shortfalls(machines),
    ]
    return "\n".join(lines)


def with_block(text: str, inner: str) -> str:
    """A text with what stands between the two marks exchanged.

    Raises:
        SystemExit: the text has not the two marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE.name} has no place for the table of speed; expected the lines\n{BEGIN}\n{END}")
    return f"{before}{BEGIN}\n{inner}\n{END}{after}"


def _measured(suite: str, machines: Machines) -> Iterator[tuple[str, ...]]:
    for slug, parts in machines.items():
        for part in parts:
            measured = part["measured"]
            again = _ratio_of(suite, part, AGAIN, ENGINE)
            load = f"{max(measured['load']):.1f}"
            name = part["pair"].split(", ")[0] if suite == "cpu" else part["pair"]
            yield _link(suite, slug), name, measured["torch"], results.when(measured), load, again


def _arms(suite: str, machines: Machines, pair: str) -> Iterator[tuple[str, ...]]:
    for arm in dict.fromkeys(row["arm"] for part in _parts(machines, pair) for row in part["arms"]):
        found = _readings(suite, machines, pair, arm)
        if all(ratio == 1 for reading in found for ratio in reading.ratios):
            continue  # what all are compared with
        worst, *others = ((report.spread(each.ratios), each.machine) for each in found)
        yield arm, *worst, *(others[-1] if others else (NONE, NONE))


def _judged(suite: str, machines: Machines) -> str:
    judged = {slug: {goal.what: goal for goal in goals(suite, parts)} for slug, parts in machines.items()}
    rows = {goal.what: goal.wanted for found in judged.values() for goal in found.values()}

    def cell(goal: Goal | None) -> str:
        return f"{goal.found} {goal.verdict}" if goal is not None and goal.verdict else NONE

    lines = [(what, wanted, *(cell(found.get(what)) for found in judged.values())) for what, wanted in rows.items()]
    return report.markdown(("goal", "wanted", *machines), lines)


def _data_path(machines: Machines) -> Iterator[str]:
    pair = next((pair for pair in _pairs(machines) if pair.startswith("the data path")), "")
    eager, compiled = (_readings("cpu", machines, pair, arm) for arm in (GATHER, GATHER_COMPILED))
    if eager and compiled:
        yield (
            f"The data path alone gives {_ends(eager)} times as many images as PIL one by one, "
            f"{_ends(compiled)} times compiled."
        )


def _ends(found: list[Reading]) -> str:
    numbers = dict.fromkeys(f"{reading.median:.0f}" for reading in (found[0], found[-1]))
    return " to ".join(numbers)


def _shortfalls(machines: Machines) -> Iterator[str]:
    short = [
        (slug, goal) for slug, parts in machines.items() for goal in goals("cpu", parts) if goal.verdict == "short"
    ]
    if not short:
        yield f"All [that was wanted]({RESULTS_FROM_PAGE}speed_cpu.md) was reached on each."
    for slug, those in groupby(short, key=lambda one: one[0]):
        told = "; ".join(f"{goal.what} {goal.found} ({goal.wanted} wanted)" for _, goal in those)
        yield f"Short on {slug}: {told}."


def _pairs(machines: Machines) -> list[str]:
    return list(dict.fromkeys(part["pair"] for parts in machines.values() for part in parts))


def _parts(machines: Machines, pair: str) -> Iterator[Part]:
    return (part for parts in machines.values() for part in parts if part["pair"] == pair)


def _part(parts: Iterable[Part], pair: str) -> Part:
    return next(part for part in parts if part["pair"] == pair)


def _readings(suite: str, machines: Machines, pair: str, arm: str) -> list[Reading]:
    """Of all machines that have measured an arm, the slowest first."""
    found = [
        Reading(slug, row[_clock(suite)])
        for slug, parts in machines.items()
        for part in parts
        for row in part["arms"]
        if part["pair"] == pair and row["arm"] == arm
    ]
    return sorted(found, key=lambda reading: reading.median)


def _ratio_of(suite: str, part: Part, arm: str, base: str) -> str:
    rows = {row["arm"]: row[_clock(suite)] for row in part["arms"]}
    if arm not in rows or base not in rows:
        return NONE
    return report.spread([one / other for one, other in zip(rows[arm], rows[base], strict=True)])


def _clock(suite: str) -> str:
    return "cpu_ratio" if suite == "cpu" else "wall_ratio"


def _cell(part: Part, arms: tuple[str, ...]) -> str:
    """The median of the arm that the part has of these, with its range."""
    row = next((row for row in part["arms"] if row["arm"] in arms), None)
    if row is None:
        return NONE
    alone = ", teacher alone" if row["arm"] == BF16_TEACHER_COMPILED else ""
    return report.spread(row["cpu_ratio"]) + alone


def _link(suite: str, slug: str, folder: str = "") -> str:
    return f"[{slug}]({folder}speed_{suite}/{slug}.md)"
