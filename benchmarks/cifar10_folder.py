"""The main job on real images: CIFAR-10 as JPEGs in folders, a resnet20 teacher, a MobileNetV3-small and its twin.

Command (about an hour and a half on two idle cores; start it again if it was interrupted, finished runs stay):

    python benchmarks/cifar10_folder.py --data DIR        # DIR holds train/<class>/*.jpg and test/<class>/*.jpg

Writes results/cifar10_folder.json (numbers and curves), .md (table) and .html (curves) beside this file.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import time
from pathlib import Path
from typing import Any

from finished_runs import finished_run

from kdengine.evaluation import cost
from kdengine.figures import style
from kdengine.models.stored import load_student
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

RESULTS = Path(__file__).parent / "results"
TEACHER_EPOCHS = 18
STUDENT_EPOCHS = 6


def specs(data: str, teacher_epochs: int, student_epochs: int, fraction: float) -> dict[str, ExperimentSpec]:
    """The three runs: teacher, distilled student, and the same student alone."""
    folder = {"name": "folder", "path": data, "image_size": 32, "augmentation": "crop_flip", "fraction": fraction}
    teacher = ExperimentSpec.from_mapping(
        {
            "data": folder,
            "student": "resnet20",
            "method": "none",
            "recipe": {"epochs": teacher_epochs, "lr": 0.1, "batch_size": 64},
        }
    )
    student = {
        "data": folder,
        "student": "mobilenetv3_small",
        "recipe": {"epochs": student_epochs, "lr": 0.05, "batch_size": 64},
    }
    return {
        "teacher": teacher,
        "kd": ExperimentSpec.from_mapping(
            student | {"method": "kd", "teacher": {"spec": teacher.model_dump(mode="json")}}
        ),
        "none": ExperimentSpec.from_mapping(student | {"method": "none"}),
    }


def row(name: str, run: RunDirectory) -> dict[str, Any]:
    """What is kept of a run."""
    spec = ExperimentSpec.from_yaml(run.spec_text())
    status, environment = run.status(), run.environment()
    epochs = run.latest("epoch", "epoch")
    backbone, _ = load_student(run)
    size = cost.count(backbone)
    return {
        "name": name,
        "model": spec.student.name,
        "method": spec.method.name,
        "seed": spec.seed,
        "fingerprint": spec.fingerprint(),
        "epochs": spec.recipe.epochs,
        "test_best": status["test"]["best"]["accuracy"],
        "test_last": status["test"]["last"]["accuracy"],
        "ece_best": status["test"]["best"]["ece"],
        "validation_best": status["best"]["accuracy"],
        "best_epoch": status["best"]["epoch"],
        "parameters": size.parameters,
        "macs": size.macs,
        "train_pictures": status["data"]["train"],
        "seconds": round(status["ended"] - status["started"], 1),
        "attempts": status["attempt"],
        "images_per_s": [event["images_per_s"] for event in epochs],
        "validation": [event["validation"]["accuracy"] for event in epochs],
        "loss": [event["loss"] for event in epochs],
        "terms": [event["terms"] for event in epochs],
        "recipe": spec.recipe.model_dump(mode="json"),
        "environment": {key: environment[key] for key in ("device_name", "threads", "precision", "packages", "python")},
    }


def table(rows: list[dict[str, Any]], command: str) -> str:
    """The Markdown table that stands beside the JSON."""
    environment = rows[0]["environment"]
    where = f"{environment['device_name']}, {environment['threads']} threads, torch {environment['packages']['torch']}"
    lines = [
        "# CIFAR-10 (JPEG) through the `folder` loader",
        "",
        f"`{command}`",
        "",
        f"n = 1 seed; {rows[0]['train_pictures']:,} training images, 10 % held out for selection; "
        f"SGD, cosine, one epoch of warm-up, crop and flip; {where}.",
        "Other work shared the two cores: the seconds are not a speed measurement.",
        "",
        "| run | model | method | epochs | test, best by validation | test, last | ECE | parameters | MACs | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = (
            r["name"], r["model"], r["method"], str(r["epochs"]), f"{100 * r['test_best']:.2f} %",
            f"{100 * r['test_last']:.2f} %", f"{100 * r['ece_best']:.1f} %", f"{r['parameters']:,}",
            f"{r['macs'] / 1e6:.1f} M", f"{r['seconds']:.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def curves(rows: list[dict[str, Any]]) -> Any:
    """Validation accuracy of the three runs over epochs."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=style.layout(x="epoch", y="validation accuracy (%)", key="cifar10", height=420))
    for r, colour in zip(rows, (style.TEACHER, style.STUDENT, style.GREY), strict=True):
        y = [100 * value for value in r["validation"]]
        figure.add_scatter(x=list(range(1, len(y) + 1)), y=y, name=f"{r['name']}: {r['model']}", line={"color": colour})
    return figure


def main() -> None:
    """Trains what is missing and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train/<class>/ and test/<class>/")
    parser.add_argument("--workspace", default="kd-workspace", help="workspace folder")
    parser.add_argument("--teacher-epochs", type=int, default=TEACHER_EPOCHS)
    parser.add_argument("--student-epochs", type=int, default=STUDENT_EPOCHS)
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the training images, for a rehearsal")
    parser.add_argument("--out", default=str(RESULTS), help="folder of the results")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    workspace = Workspace(options.workspace)
    began = time.time()
    rows = []
    for name, spec in specs(options.data, options.teacher_epochs, options.student_epochs, options.fraction).items():
        logging.info("%s", name)
        rows.append(row(name, finished_run(spec, workspace)))
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    command = "python benchmarks/cifar10_folder.py --data DIR"
    (out / "cifar10_folder.json").write_text(json.dumps({"command": command, "runs": rows}, indent=1) + "\n")
    (out / "cifar10_folder.md").write_text(table(rows, command))
    curves(rows).write_html(out / "cifar10_folder.html", include_plotlyjs="cdn")
    logging.info("done in %.0f s", time.time() - began)


if __name__ == "__main__":
    main()
