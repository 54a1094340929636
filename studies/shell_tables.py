"""What ``kd study`` prints of studies, their trials and what they search."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kdengine.commands import train
from kdengine.commands.tables import show, show_json, show_pairs
from kdengine.units import duration
from kdengine.workspace import Workspace
from studies import words

if TYPE_CHECKING:
    from studies.confirm import Confirmation
    from studies.trials import StudyView


def print_space(options: argparse.Namespace) -> int:
    """The settings that can be searched, with their ranges."""
    from kdengine.spec import ExperimentSpec
    from studies.space import offered

    named = {"method": {"name": options.method}} if options.method else {}
    spec = ExperimentSpec.from_mapping(train.read_mapping(options, named))
    flat = spec.flat()
    rows = [
        (each.field, str(flat.get(each.field, "")), each.text(), "yes" if each.on else "", _when(each.when))
        for each in offered(spec)
    ]
    show(("hyper-parameter", "value", "range", "searched", "only if"), rows)
    return 0


def _when(when: Mapping[str, tuple[Any, ...]]) -> str:
    return "; ".join(f"{name} is {' or '.join(map(str, values))}" for name, values in when.items())


def print_studies(workspace: Workspace) -> int:
    """All studies of the workspace, a line each."""
    from studies import actions as control
    from studies import ready_made

    found = control.views(workspace)
    if not found:
        ready = ", ".join(ready_made.names())
        sys.stdout.write(f"No study yet. `kd study new first --ready dcad` starts one; ready-made: {ready}.\n")
        return 0
    rows = [
        (
            now.plan.name,
            control.state_of(now.plan, workspace),
            f"{now.counted} of {now.plan.budget.trials or '?'}",
            words.trial_value(now, now.best),
            words.trial_value(now, now.default),
            now.plan.pair,
        )
        for now in found
    ]
    show(("study", "state", "trials", "best", "default", "data, teacher, student, method"), rows)
    return 0


def print_study(now: StudyView, workspace: Workspace, as_json: bool) -> int:
    """One study with its trials."""
    from studies import actions as control

    state = control.state_of(now.plan, workspace)
    if as_json:
        numbers = {"state": state, "epochs_run": now.epochs_run, "epochs_planned": now.epochs_planned}
        best = now.best.number if now.best else None
        trials = [asdict(row) for row in now.trials]
        show_json({"plan": now.plan.model_dump(mode="json"), "best": best, "trials": trials} | numbers)
        return 0
    searched = now.plan.searched
    fields = [each.field.removeprefix("method.") for each in searched]
    columns = ("trial", "state", *now.plan.metrics, *fields, "epochs", "")
    rows = [
        (
            str(row.number),
            row.state,
            *(words.metric_value(name, value) for name, value in zip(now.plan.metrics, row.values, strict=False)),
            *[""] * (len(now.plan.metrics) - len(row.values)),
            *(words.setting_value(row.params.get(each.field)) for each in searched),
            str(row.epochs),
            "; ".join(filter(None, (words.remark(row, now), row.note))),
        )
        for row in now.trials
    ]
    show(columns, rows)
    show_pairs(
        [
            ("study", f"{now.plan.name}: {state}, {now.counted} of {now.plan.budget.trials or '?'} trials"),
            ("best", words.trial_value(now, now.best)),
            ("default", words.trial_value(now, now.default)),
            ("epochs", f"{now.epochs_run:,} of {now.epochs_planned:,} without pruning ({100 * now.saved:.0f} % saved)"),
            ("time", duration(sum(row.seconds for row in now.trials)) + " of all runs together"),
            ("next", f"kd study confirm {now.plan.name}" if now.best and state == "finished" else ""),
        ]
    )
    return 0


def print_confirmation(found: Confirmation) -> None:
    """What fresh seeds said of the best values."""

    def line(arm: str, promised: float | None) -> tuple[str, ...]:
        cells = [f"{100 * promised:.1f} %" if promised is not None else ""]
        return (arm, *cells, *(words.spread_values(found, part, arm) for part in ("validation", "test")))

    show(
        ("values", "in the search", f"validation, {len(found.seeds)} fresh seeds", "test"),
        [line("defaults", found.default_promised), line("tuned", found.promised)],
    )
    if found.gain is not None:
        sys.stdout.write(f"{words.verdict(found)}\n")
