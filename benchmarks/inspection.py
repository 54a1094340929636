"""How long one waits for a look inside: every panel for 16 images of 32 px, a graph of 128 images, and their size.

    python benchmarks/inspection.py                # trains two nets for one epoch, then looks
    python benchmarks/inspection.py --rehearse     # one repeat, to see that all is well

A panel is timed as the page gets it: arrays from weights (nothing recorded), then drawn, then turned into what is sent.
"opened" holds the reading of the run's networks, once for each run and choice of images. Restartable: finished runs
of the workspace are not trained again. Writes results/inspection.json (every number) and .md (the table).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from finished_runs import finished_run

from kdengine.figures.inspection import draw
from kdengine.figures.seen import Drawing, Wishes
from kdengine.inspection import looking, ready
from kdengine.inspection.panels import PANELS
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

RESULTS = Path(__file__).parent / "results"
IMAGES, NODES = 16, 128


def experiment(student: str, method: str, teacher: str | None = None) -> ExperimentSpec:
    """Digits at 32 px: the images do not matter, their size does."""
    mapping: dict[str, Any] = {
        "data": {"name": "digits", "image_size": 32, "per_class": 20},
        "student": student,
        "method": method,
        "recipe": {"epochs": 1, "warmup_epochs": 0, "batch_size": 32},
        "runtime": {"inspect": 0, "device": "cpu", "threads": torch.get_num_threads()},
    }
    return ExperimentSpec.from_mapping(mapping | ({"teacher": {"run": teacher}} if teacher else {}))


def timed(workspace: Workspace, run: RunDirectory, what: str, count: int) -> tuple[dict[str, float], list[Drawing]]:
    """Seconds for arrays and drawing of a panel, and the megabytes sent; and what was drawn."""
    images = looking.chosen(workspace, run, count)
    began = time.perf_counter()
    seen = looking.look(workspace, run, what, "best", images)
    computed = time.perf_counter()
    drawings = draw(PANELS[what].kind, [seen], Wishes())
    sizes = [len(drawing.svg or drawing.figure.to_json()) for drawing in drawings]
    row = {"arrays_s": computed - began, "drawn_s": time.perf_counter() - computed, "largest_mb": max(sizes) / 1e6}
    return row, drawings


def measure(workspace: Workspace, run: RunDirectory, repeats: int) -> list[dict[str, Any]]:
    """A row for each panel: medians over fresh subjects, so that nothing is remembered but the data."""
    wanted = [(one.name, IMAGES) for one in looking.offered(workspace, run) if one.compute is not None]
    rows = []
    for what, count in [*wanted, ("graph", NODES)]:
        found = []
        for _ in range(repeats):
            ready.forget()
            began = time.perf_counter()
            ready.subject_of(workspace, run, "best", looking.chosen(workspace, run, count), looking._device(workspace))
            opened = time.perf_counter() - began
            found.append(timed(workspace, run, what, count)[0] | {"opened_s": opened})
        medians = {key: statistics.median(row[key] for row in found) for key in found[0]}
        rows.append({"panel": what, "images": count} | medians | {"repeats": found})
    return rows


def table(result: dict[str, Any]) -> str:
    """The table to read."""
    lines = [
        "# How long one waits for a look inside",
        "",
        f"`{result['command']}`, {result['threads']} threads, torch {result['torch']}; {result['nets']}; medians of "
        f"{result['repeats']} fresh looks. A look waits for arrays and drawing; "
        "opening comes once for a run and choice of images.",
        "",
        "| panel | images | opened (s) | arrays (s) | drawn (s) | largest part sent (MB) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['panel']} | {row['images']} | {row['opened_s']:.2f} | {row['arrays_s']:.2f} | "
        f"{row['drawn_s']:.2f} | {row['largest_mb']:.2f} |"
        for row in result["rows"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Trains what is missing, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(2)
    workspace = Workspace()
    teacher = finished_run(experiment("resnet8x4_cip", "none"), workspace)
    run = finished_run(experiment("resnet20", "grkd", teacher.id), workspace)
    repeats = 1 if options.rehearse else options.repeats
    timed(workspace, run, "graph", IMAGES)  # imports and fonts are nobody's panel
    result = {
        "command": "python benchmarks/inspection.py", "threads": 2, "torch": torch.__version__, "repeats": repeats,
        "nets": "resnet20 taught by resnet8x4_cip with grkd, 32 px, two cores",
        "rows": measure(workspace, run, repeats),
    }  # fmt: skip
    print(table(result))
    if not options.rehearse:
        (RESULTS / "inspection.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / "inspection.md").write_text(table(result))


if __name__ == "__main__":
    main()
