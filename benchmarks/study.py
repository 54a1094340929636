"""A ready study from its start to its confirmation, with and without pruning: what it finds, and what it costs.

Runs the ready study of a method on a fresh workspace, two jobs at once on a CPU, and confirms the best values on fresh
seeds; then, on another workspace, the same study without pruning. Writes results/study_<name>.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from kdengine.comparison.progress import progress
from kdengine.errors import KdError
from kdengine.jobs import JobStore, ensure_supervisor, stop_supervisor
from kdengine.workspace import Workspace
from studies import actions as control
from studies import confirm, plan, ready_made
from studies.words import verdict

RESULTS = Path(__file__).parent / "results"
LOOK_S = 1.0


def main() -> None:
    """Runs it and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ready", default="dcad", choices=ready_made.names())
    parser.add_argument("--seeds", type=int, default=5, help="fresh seeds of the confirmation")
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    os.environ["KD_CPU_SLOTS"] = str(options.slots)
    load = os.getloadavg()[0]
    with supervised() as workspace:
        pruned = study(workspace, options.ready)
        found = confirmed(workspace, options.ready, options.seeds)
    with supervised() as workspace:
        plain = study(workspace, options.ready, pruner="none")
    machine = {"torch": torch.__version__, "processor": processor(), "cores": os.cpu_count(), "load": round(load, 2)}
    command = f"python benchmarks/study.py --ready {options.ready} --seeds {options.seeds} --slots {options.slots}"
    result = {"command": command, "machine": machine, "pruned": pruned, "unpruned": plain, "confirmed": found}
    (RESULTS / f"study_{options.ready}.json").write_text(json.dumps(result, indent=2, default=str) + "\n")
    (RESULTS / f"study_{options.ready}.md").write_text(table(options.ready, result))
    print(table(options.ready, result))


@contextmanager
def supervised() -> Iterator[Workspace]:
    """A fresh workspace: a study in it knows of no earlier one."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder)
        try:
            yield workspace
        finally:
            stop_supervisor(workspace)


def study(workspace: Workspace, name: str, **changes: Any) -> dict[str, Any]:
    """Runs a ready study to its end; its numbers."""
    made = plan.read(ready_made.load(name) | changes)
    began = time.monotonic()
    control.begin(made, workspace)
    ensure_supervisor(workspace)
    store = JobStore(workspace)
    while not (job := store.get(made.job_id)).state.ended:
        ensure_supervisor(workspace)
        time.sleep(LOOK_S)
    seconds = time.monotonic() - began
    if job.state != "finished":
        raise KdError(f"the study ended as {job.state}: {job.message}")
    now = control.view(name, workspace)
    assert now.best is not None and now.default is not None
    print(f"{name}: {seconds:.0f} s")
    return {
        "seconds": round(seconds, 1),
        "trials": {state: now.count(state) for state in ("complete", "pruned", "fail")},
        "epochs_run": now.epochs_run,
        "epochs_planned": now.epochs_planned,
        "best": asdict(now.best),
        "default": asdict(now.default),
        "fields": [each.field for each in now.plan.searched],
    }


def confirmed(workspace: Workspace, name: str, seeds: int) -> dict[str, Any]:
    """Best values and defaults on fresh seeds."""
    now = control.view(name, workspace)
    comparison = confirm.plan_for(now, seeds)
    confirm.begin(now, workspace, seeds)
    while progress(comparison, workspace).under_way:
        ensure_supervisor(workspace)
        time.sleep(LOOK_S)
    found = confirm.read(now, comparison, workspace)
    numbers = {key: value for key, value in asdict(found).items() if key != "plan"}
    return numbers | {"verdict": verdict(found)}


def table(name: str, result: dict[str, Any]) -> str:
    """What the JSON says, for a reader."""
    machine, pruned, plain, found = (result[key] for key in ("machine", "pruned", "unpruned", "confirmed"))
    best, default = pruned["best"], pruned["default"]
    fields = pruned["fields"]
    values = [f"| {field} | {short(default['params'][field])} | {short(best['params'][field])} |" for field in fields]
    arms = [
        ("defaults", found["default_promised"], found["validation"]["defaults"], found["test"]["defaults"]),
        ("tuned", found["promised"], found["validation"]["tuned"], found["test"]["tuned"]),
    ]
    lines = [
        f"# The ready study {name}",
        "",
        f"`{result['command']}` on {machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, load "
        f"{machine['load']} at the start; the teacher is trained within the time.",
        "",
        "| | with pruning | without |",
        "| --- | ---: | ---: |",
        f"| time | {minutes(pruned['seconds'])} | {minutes(plain['seconds'])} |",
        *(f"| {state} trials | {pruned['trials'][state]} | {plain['trials'][state]} |" for state in pruned["trials"]),
        f"| epochs run | {pruned['epochs_run']} | {plain['epochs_run']} |",
        f"| epochs planned | {pruned['epochs_planned']} | {plain['epochs_planned']} |",
        f"| best trial, validation | {percent(best['values'][0])} | {percent(plain['best']['values'][0])} |",
        "",
        "| setting | default | best |",
        "| --- | ---: | ---: |",
        *values,
        "",
        f"| values | in the search (1 seed) | validation, {len(found['seeds'])} fresh seeds | test, the same |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {arm} | {percent(promised)} | {spread(validation)} | {spread(test)} |"
            for arm, promised, validation, test in arms
        ),
        "",
        f"{found['verdict']}.",
        "",
    ]
    return "\n".join(lines)


def short(value: Any) -> str:
    """A number with four figures."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(share: float | None) -> str:
    """A share as percent."""
    return "" if share is None else f"{100 * share:.1f} %"


def spread(numbers: dict[str, float]) -> str:
    """Mean and standard deviation."""
    return f"{100 * numbers['mean']:.1f} ± {100 * numbers['deviation']:.1f} %"


def minutes(seconds: float) -> str:
    """1 min 10 s."""
    return f"{int(seconds // 60)} min {round(seconds % 60)} s"


def processor() -> str:
    """As Linux names it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
