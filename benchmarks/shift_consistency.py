"""How much do the answers change when test images move by 1 to 8 pixels? Strided, importance and blur pooling.

    python benchmarks/shift_consistency.py                    # trains 2 x 5 x 3 small nets on digits
    python benchmarks/shift_consistency.py --rehearse         # one epoch, one seed, to see that all is well
    python benchmarks/shift_consistency.py --runs ID ID ...   # nets trained already, on their own test images

Restartable: finished runs of the workspace are not trained again. Each image is continued at its border by its border
pixels (black for digits), and the window of the original size moves over it right, left, down and up; what moves out of
the window is lost for every net alike. Writes results/shift_consistency.json (every run), .md (the table), .html.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from finished_runs import finished_run

from kdengine.assembly import evaluation_batches, load_data
from kdengine.comparison import paired_difference, spread
from kdengine.evaluation import cost
from kdengine.evaluation.steadiness import steadiness
from kdengine.figures import style
from kdengine.models.stored import load_student
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

RESULTS = Path(__file__).parent / "results"
EPOCHS = 12
SEEDS = 3
SHOWN = (1, 2, 4, 8)
BASELINE = "strided"
ARMS: dict[str, dict[str, Any]] = {
    BASELINE: {"name": "resnet20"},
    "importance pooling alone": {"name": "resnet20_cip", "blur_shortcut": False},
    "blurred shortcut alone": {"name": "resnet20_cip", "pool": "strided"},
    "blur in both branches": {"name": "resnet20_cip", "pool": "blur"},
    "importance pooling, blurred shortcut": {"name": "resnet20_cip"},
}
# Random crops in training teach steadiness too; without them the architecture stands alone.
AUGMENTATIONS = ("none", "crop")
log = logging.getLogger("shift_consistency")


def experiments(epochs: int, seeds: int) -> Iterator[tuple[str, ExperimentSpec]]:
    """(arm, its spec), seed by seed so that all arms meet the same hour."""
    for seed in range(seeds):
        for augmentation in AUGMENTATIONS:
            for arm, student in ARMS.items():
                yield (
                    arm,
                    ExperimentSpec.from_mapping(
                        {
                            "data": {"name": "digits", "image_size": 16, "augmentation": augmentation},
                            "student": student,
                            "method": "none",
                            "recipe": {
                                "epochs": epochs,
                                "lr": 0.1,
                                "batch_size": 64,
                                "warmup_epochs": min(1, epochs - 1),
                            },
                            "runtime": {"device": "cpu", "threads": torch.get_num_threads()},
                            "seed": seed,
                        }
                    ),
                )


def row(arm: str, finished: RunDirectory, workspace: Workspace) -> dict[str, Any]:
    """What is kept of a run: where it comes from and how steady it is on its own test images."""
    spec = ExperimentSpec.from_yaml(finished.spec_text())
    net, _ = load_student(finished)
    batches = list(evaluation_batches(spec, load_data(spec, workspace), "test", torch.device("cpu")).epoch(0))
    images = torch.cat([batch.image for batch in batches])
    environment = finished.environment()
    return {
        "arm": arm,
        "augmentation": spec.data.augmentation,
        "seed": spec.seed,
        "fingerprint": spec.fingerprint(),
        "student": spec.student.model_dump(mode="json"),
        "epochs": spec.recipe.epochs,
        "parameters": cost.count_parameters(net),
        "test_pictures": len(images),
        "test_best": finished.status()["test"]["best"]["accuracy"],
        "shifts": steadiness(lambda x: net(x).logits, images, torch.cat([batch.target for batch in batches])),
        "environment": {key: environment[key] for key in ("device_name", "threads", "precision", "packages", "python")},
    }


def groups(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Runs by (augmentation, arm), in the order of the rows."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in rows:
        found.setdefault((one["augmentation"], one["arm"]), []).append(one)
    return found


def at(one: dict[str, Any], shift: int, what: str) -> float:
    """A number of a run at a shift, in percent; nan where its images are too small for the shift."""
    return next((100 * entry[what] for entry in one["shifts"] if entry["shift"] == shift), float("nan"))


def table(rows: list[dict[str, Any]], command: str) -> str:
    """The Markdown table that stands beside the JSON."""
    environment = rows[0]["environment"]
    lines = [
        "# Steadiness of the answers under shifts of the image", "", f"`{command}`", "",
        f"{rows[0]['test_pictures']} test images, continued by their border pixels, moved right, left, down and up; "
        f"{rows[0]['epochs']} epochs, weights best by validation; {environment['device_name']}, "
        f"{environment['threads']} threads, torch {environment['packages']['torch']}.",
        "Mean ± standard deviation over n seeds, in %. Change: of the logits, relative to their spread over the "
        "images. Same class: share of the images whose class stays. "
        f"Last two columns: differences to `{BASELINE}` at 1 px, paired by seed, with their 95 % intervals.",
    ]  # fmt: skip
    found = groups(rows)
    head = _head()
    for augmentation in dict.fromkeys(one["augmentation"] for one in rows):
        baseline = found.get((augmentation, BASELINE), [])
        lines += ["", f"## Trained with augmentation: {augmentation}", "", head, "|---" * (head.count("|") - 1) + "|"]
        lines += [_line(name, own, baseline) for (where, name), own in found.items() if where == augmentation]
    return "\n".join(lines) + "\n"


def _head() -> str:
    shown = [f"{what}, {shift} px" for what in ("change", "same class") for shift in SHOWN]
    gaps = ["change minus baseline", "same class minus baseline"]
    return f"| {' | '.join(['arm', 'n', 'parameters', 'test', *shown, *gaps])} |"


def _line(name: str, own: list[dict[str, Any]], baseline: list[dict[str, Any]]) -> str:
    test = [100 * one["test_best"] for one in own]
    numbers = [[at(one, shift, what) for one in own] for what in ("logit_change", "agreement") for shift in SHOWN]
    cells = [name, str(len(own)), f"{own[0]['parameters']:,}", *(_spread(values) for values in (test, *numbers))]
    gaps = [_gap(own, baseline, what) for what in ("logit_change", "agreement")]
    return f"| {' | '.join([*cells, *gaps])} |"


def _spread(values: list[float]) -> str:
    over = spread(values)
    return f"{over.mean:.1f} ± {over.deviation:.1f}"


def _gap(own: list[dict[str, Any]], baseline: list[dict[str, Any]], what: str) -> str:
    theirs = {one["seed"]: one for one in baseline}
    pairs = [(at(one, 1, what), at(theirs[one["seed"]], 1, what)) for one in own if one["seed"] in theirs]
    if len(pairs) < 2 or own[0]["arm"] == BASELINE:
        return ""
    gap = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
    return f"{gap.mean:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]"


def curves(rows: list[dict[str, Any]]) -> Any:
    """Change of the logits and share of unchanged classes against the shift; dotted lines: trained with crops."""
    from plotly.subplots import make_subplots

    panels = (("logit_change", "change of the logits (%)"), ("agreement", "same class (%)"), ("accuracy", "right (%)"))
    figure = make_subplots(1, len(panels))
    figure.update_layout(style.layout(x="shift (px)", y=panels[0][1], key="shift", height=460, hovermode="closest"))
    found = groups(rows)
    arms = list(dict.fromkeys(arm for _, arm in found))
    for (augmentation, arm), own in found.items():
        for column, (what, title) in enumerate(panels, 1):
            shifts = [entry["shift"] for entry in own[0]["shifts"]]
            line = {
                "color": style.TERMS[arms.index(arm) % len(style.TERMS)],
                "dash": "solid" if augmentation == "none" else "dot",
            }
            figure.add_scatter(
                x=shifts, y=[spread([at(one, shift, what) for one in own]).mean for shift in shifts],
                name=f"{arm}, augmentation {augmentation}", line=line, showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
            figure.update_yaxes(title_text=title, row=1, col=column)
            figure.update_xaxes(title_text="shift (px)", row=1, col=column)
    return figure


def main() -> None:
    """Trains what is missing, measures, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", default="kd-workspace", help="workspace folder")
    parser.add_argument("--runs", nargs="*", default=[], help="measure these finished runs, train nothing")
    parser.add_argument("--rehearse", action="store_true", help="one epoch, one seed, results into the workspace")
    parser.add_argument("--out", default="", help="folder of the results")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("kdengine").setLevel(logging.WARNING)
    workspace = Workspace(options.workspace)
    out = Path(options.out or (workspace.root / "rehearsal" if options.rehearse else RESULTS))
    began = time.time()
    rows = []
    if options.runs:
        rows = [row(name, workspace.existing_run(name), workspace) for name in options.runs]
    else:
        for arm, spec in experiments(1 if options.rehearse else EPOCHS, 1 if options.rehearse else SEEDS):
            one = row(arm, finished_run(spec, workspace), workspace)
            log.info("%s, %s, seed %d: test %.1f %%", one["augmentation"], arm, spec.seed, 100 * one["test_best"])
            rows.append(one)
    command = "python benchmarks/shift_consistency.py" + (" --runs ID ..." if options.runs else "")
    command += " --rehearse" if options.rehearse else ""
    out.mkdir(parents=True, exist_ok=True)
    (out / "shift_consistency.json").write_text(json.dumps({"command": command, "runs": rows}, indent=1) + "\n")
    (out / "shift_consistency.md").write_text(table(rows, command))
    curves(rows).write_html(out / "shift_consistency.html", include_plotlyjs="cdn")
    log.info("done in %.0f s", time.time() - began)


if __name__ == "__main__":
    main()
