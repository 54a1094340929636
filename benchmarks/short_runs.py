"""What the weights that public recipes have for 240 epochs of CIFAR do in short runs: accuracy on validation alone.

    python benchmarks/short_runs.py --workspace DIR --minutes 60
    python benchmarks/short_runs.py --workspace DIR --tables

The seeds are none that a table of accuracies has, and test accuracies are not looked at. Runs that are in the workspace
are not trained again. Suite `cifar10` is left out where no images lie under /data/cifar10 (see evidence.py) or the
teacher is not imported as rn56. Writes results/short_runs.json and .md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kdengine import ExperimentSpec, run
from kdengine.machine.processor import processor
from kdengine.teachers.records import list_imports, pinned_mapping
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

RESULTS = Path(__file__).parent / "results"
ALONE: dict[str, Any] = {"name": "none"}
WEIGHTS = {"at": ("at_weight", (1000.0, 100.0, 10.0, 1.0)), "dkd": ("beta", (8.0, 4.0, 2.0, 1.0))}
CPU = {"device": "cpu", "threads": 1}
TEN_DIGITS = {"name": "digits", "per_class": 10}


class Suite(NamedTuple):
    """An experiment without its method.

    Attributes:
        title: in the table.
        common: what all runs share.
        seeds: of every arm.
        methods: with their weights; the student alone is always there.
    """

    title: str
    common: dict[str, Any]
    seeds: tuple[int, ...]
    methods: dict[str, tuple[str, tuple[float, ...]]]


TEACHER = {
    "student": "resnet20", "method": "none", "data": TEN_DIGITS, "seed": 200,
    "recipe": {"epochs": 60, "batch_size": 32},
}  # fmt: skip
SUITES = {
    "digits": Suite(
        "digits, 10 a class, 60 epochs: 6,000 images",
        {
            "data": TEN_DIGITS, "student": "resnet20", "teacher": {"spec": TEACHER}, "runtime": CPU,
            "recipe": {"epochs": 60, "batch_size": 32},
        },
        (101, 102, 103, 104, 105),
        WEIGHTS,
    ),
    "cifar10": Suite(
        "CIFAR-10, 500 a class, 20 epochs: 95,000 images",
        {
            "data": {"name": "folder", "path": "/data/cifar10", "per_class": 500, "image_size": 32, "validation": 0.05},
            "student": "resnet20", "teacher": "import:rn56", "recipe": {"epochs": 20, "batch_size": 64}, "runtime": CPU,
        },
        (101, 102),
        {"dkd": ("beta", (8.0, 2.0, 1.0))},
    ),
}  # fmt: skip


def arms(suite: Suite) -> Iterator[tuple[str, float | None, dict[str, Any]]]:
    """Method, weight and the method's mapping."""
    yield "none", None, ALONE
    for name, (setting, values) in suite.methods.items():
        for value in values:
            yield name, value, {"name": name, setting: value}


def spec_of(suite: Suite, method: dict[str, Any], seed: int, workspace: Workspace) -> ExperimentSpec:
    """The experiment of one run."""
    left_out = {"teacher"} if method == ALONE else set()
    common = {key: value for key, value in suite.common.items() if key not in left_out}
    return ExperimentSpec.from_mapping(pinned_mapping(common | {"method": method, "seed": seed}, workspace))


def finished(workspace: Workspace) -> dict[str, float]:
    """Best validation accuracy (0..1) of each finished run, by fingerprint."""
    known = {}
    for each in workspace.list_runs():
        status = each.status()
        if status.get("state") == State.FINISHED:
            known[str(status.get("fingerprint"))] = float(status["best"]["accuracy"])
    return known


def train(suite: Suite, workspace: Workspace, deadline: float) -> None:
    """Trains what is missing, seed by seed, until the time is over."""
    for seed in suite.seeds:
        for _, _, method in arms(suite):
            spec = spec_of(suite, method, seed, workspace)
            if spec.fingerprint() not in finished(workspace) and time.monotonic() < deadline:
                run(spec, workspace=workspace)


def measured(suite: Suite, workspace: Workspace) -> list[dict[str, Any]]:
    """For each arm the accuracies in percent, by seed, and the differences to the student alone of the same seed."""
    known = finished(workspace)
    found: list[dict[str, Any]] = []
    for name, weight, method in arms(suite):
        prints = {seed: spec_of(suite, method, seed, workspace).fingerprint() for seed in suite.seeds}
        reached = {seed: round(100 * known[mark], 2) for seed, mark in prints.items() if mark in known}
        alone = found[0]["validation"] if found else reached
        gains = {seed: round(value - alone[seed], 2) for seed, value in reached.items() if seed in alone}
        found.append({"method": name, "weight": weight, "validation": reached, "gains": gains})
    return found


def as_table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["# Weights of long recipes in short runs", "", "`python benchmarks/short_runs.py --workspace DIR`", ""]
    lines += [f"{results['machine']}. Best accuracy on validation (%), mean ± standard deviation over n seeds that no"]
    lines += ["table of accuracies has; differences to the student alone are paired by seed. Test accuracies are not"]
    lines += ["looked at.", ""]
    for suite in results["suites"]:
        lines += [f"## {suite['title']}", "", "| method | weight | n | validation (%) | minus alone |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for arm in suite["arms"]:
            values, gains = list(arm["validation"].values()), list(arm["gains"].values())
            if values:
                weight = "" if arm["weight"] is None else f"{arm['weight']:g}"
                gain = "" if arm["method"] == "none" or not gains else spread(gains, sign="+")
                lines += [f"| {arm['method']} | {weight} | {len(values)} | {spread(values)} | {gain} |"]
        lines += [""]
    return "\n".join(lines)


def spread(values: list[float], sign: str = "") -> str:
    """Mean ± standard deviation; the mean alone of one value."""
    tail = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.1f}{tail}"


def is_there(workspace: Workspace) -> bool:
    """Whether the suite on CIFAR-10 can be run here."""
    return Path("/data/cifar10").is_dir() and "rn56" in [each.name for each in list_imports(workspace)]


def main() -> None:
    """Trains and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=sorted(SUITES), nargs="*", default=sorted(SUITES, reverse=True))
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--minutes", type=float, default=1e4, help="begin no run after these")
    parser.add_argument("--tables", action="store_true", help="train nothing, write what is there")
    parser.add_argument("--out", default=str(RESULTS), help="folder of the results")
    options = parser.parse_args()
    workspace, deadline = Workspace(options.workspace), time.monotonic() + 60 * options.minutes
    there = {name: suite for name, suite in SUITES.items() if name != "cifar10" or is_there(workspace)}
    for name in () if options.tables else options.suite:
        if name in there:
            train(there[name], workspace, deadline)
    suites = [{"title": suite.title, "arms": measured(suite, workspace)} for suite in there.values()]
    suites = [suite for suite in suites if any(arm["validation"] for arm in suite["arms"])]
    results = {"machine": f"{processor().name}, torch {torch.__version__}", "suites": suites}
    out = Path(options.out)
    (out / "short_runs.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "short_runs.md").write_text(as_table(results))


if __name__ == "__main__":
    main()
