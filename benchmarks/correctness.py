"""Is training on the card right? Every method against the CPU, resumed against undisturbed, recorded against eager.

    python benchmarks/correctness.py --suite gpu --minutes 8   # begins no method after that; again: what is left
    python benchmarks/correctness.py --suite gpu --method kd   # one anew
    python benchmarks/correctness.py --rehearse                # the CPU against itself, 12 steps, on any machine

To be run before any number of speed or accuracy of a card is believed. On digits, 200 steps, in float32 without TF32
and under ``deterministic``, from the same weights and the same images:

* on the card and on the CPU: the losses of single steps, and the accuracy on the test part. Rounding differs, and its
  differences grow with every step, so that the first step is to agree to 1e-4 and the accuracy within five images in a
  hundred;
* stopped by SIGTERM in the middle and resumed: the last weights are to be bit for bit those of the undisturbed run;
* with the step recorded as a CUDA graph, where the method can be: the same.

Writes results/correctness_gpu.json and .md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from finished_runs import finished_run
from safetensors.torch import load_file

from kdengine import runner
from kdengine.errors import KdError, Stopped
from kdengine.methods import get_method, list_methods
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

RESULTS = Path(__file__).parent / "results"
TEACHER = "resnet8x4"
STEPS_SHOWN = (1, 10, 50)
FIRST_STEP_AGREES, ACCURACY_AGREES = 1e-4, 0.05
LOOK_S = 0.005


class Bench:
    """Runs experiments of one size in a workspace of their own.

    Args:
        home: of the workspace.
        device: whose training is examined.
        rehearse: 12 steps instead of 200.
    """

    def __init__(self, home: Path, device: str, rehearse: bool) -> None:
        self.workspace = Workspace(home)
        self.device = device
        self.per_class, self.epochs = (20, 2) if rehearse else (100, 8)

    def spec(self, method: str, device: str, **runtime: Any) -> ExperimentSpec:
        """resnet20 on digits; a method with a teacher gets one that the CPU has trained."""
        mapping: dict[str, Any] = {
            "data": {"name": "digits", "image_size": 16, "per_class": self.per_class},
            "student": "resnet20",
            "method": method,
            "recipe": {"epochs": self.epochs, "batch_size": 32, "lr": 0.05},
            "runtime": {"device": device, "precision": "fp32", "deterministic": True, "replay": "off", "log_every": 1,
                        "inspect": 0} | runtime,
        }  # fmt: skip
        if _is_taught(method):
            mapping["teacher"] = {"run": self.teacher()}
        return ExperimentSpec.from_mapping(mapping)

    def teacher(self) -> str:
        """Id of its run."""
        mapping = self.spec("none", "cpu").model_dump(mode="json") | {"student": TEACHER, "seed": 100}
        return finished_run(ExperimentSpec.from_mapping(mapping), self.workspace).id

    def train(self, spec: ExperimentSpec, stop_at: int = 0) -> RunDirectory:
        """A fresh run; with ``stop_at``, stopped by SIGTERM after that step and resumed."""
        run = runner.create(spec, self.workspace)
        if stop_at:
            watch = threading.Thread(target=_stop_at, args=(run, stop_at), daemon=True)
            watch.start()
            try:
                runner.execute(run, self.workspace)
            except Stopped:
                pass
            else:
                raise KdError(f"{run.id} was over before it could be stopped at step {stop_at}")
            finally:
                watch.join()
        runner.execute(run, self.workspace)
        return run


def _is_taught(method: str) -> bool:
    found = get_method(method)
    return bool(found.requires(found.Params()).teacher)


def _is_recordable(method: str) -> bool:
    found = get_method(method)
    return found.capturable(found.Params())


@contextmanager
def _heard(logger: str) -> Iterator[list[str]]:
    """What a logger says meanwhile."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(logger).addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger(logger).removeHandler(handler)


def _stop_at(run: RunDirectory, step: int) -> None:
    while not any(event["step"] >= step for event in run.events("step")):
        if run.state().ended:
            return
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)


def losses(run: RunDirectory) -> dict[int, float]:
    """Of each step."""
    return {event["step"]: event["loss"] for event in run.latest("step", "step")}


def farthest(one: RunDirectory, other: RunDirectory) -> float:
    """The largest difference between two runs' last weights; 0 when they are the same bit for bit."""
    first, second = (load_file(run.path / "last.safetensors") for run in (one, other))
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def examine(bench: Bench, method: str) -> dict[str, Any]:
    """One row: what was found of one method."""
    here, there = (bench.train(bench.spec(method, device)) for device in (bench.device, "cpu"))
    ours, theirs = losses(here), losses(there)
    apart = {step: abs(ours[step] - theirs[step]) / abs(theirs[step]) for step in STEPS_SHOWN if step in ours}
    tested = [run.status()["test"]["last"]["accuracy"] for run in (here, there)]
    resumed = bench.train(bench.spec(method, bench.device), stop_at=len(ours) // 2)
    row = {
        "method": method, "steps": len(ours), "apart": apart, "accuracy": tested,
        "resumed": farthest(here, resumed), "recorded": None, "seconds": None,
    }  # fmt: skip
    if bench.device != "cpu":
        with _heard("kdengine.training.loop") as said:
            recorded = bench.train(bench.spec(method, bench.device, cuda_graph=True))
        fell_back = any("not recorded as a CUDA graph" in line for line in said)
        row["recorded"] = None if fell_back or not _is_recordable(method) else farthest(here, recorded)
        row["fell back"] = fell_back
    return row


def verdict(row: dict[str, Any]) -> str:
    """What is not as it should be, in words; "" when nothing is."""
    if row.get("error"):
        return str(row["error"])
    first, (ours, theirs) = row["apart"][min(row["apart"])], row["accuracy"]
    wrong = []
    if first > FIRST_STEP_AGREES:
        wrong.append("the first step differs")
    if abs(ours - theirs) > ACCURACY_AGREES:
        wrong.append("the accuracy differs")
    if row["resumed"]:
        wrong.append("a resumed run differs")
    if row["recorded"]:
        wrong.append("a recorded step differs")
    if row.get("fell back"):
        wrong.append("its step could not be recorded")
    return ", ".join(wrong)


def table(head: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    good = sum(not verdict(row) for row in rows)
    lines = [
        "# Is training on the card right?",
        "",
        f"`{head['command']}` on {head['machine']}, torch {head['torch']}: {good} of {len(rows)} methods as "
        "they should be.",
        "",
        "Loss of single steps on the card against the CPU (relative difference), accuracy on the test part after the "
        "last step, and the largest difference of any weight between the undisturbed run and one that was stopped and "
        "resumed, and one whose step was recorded as a CUDA graph. float32 without TF32, `deterministic`.",
        "",
        f"| method | {' | '.join(f'step {step}' for step in STEPS_SHOWN)} | card | CPU | resumed | recorded | |",
        f"| --- | {'---: | ' * (len(STEPS_SHOWN) + 4)}--- |",
    ]
    for row in sorted(rows, key=lambda row: row["method"]):
        if row.get("error"):
            lines.append(f"| {row['method']} | {'| ' * (len(STEPS_SHOWN) + 4)}{row['error']} |")
            continue
        apart = [f"{row['apart'][step]:.1e}" if step in row["apart"] else "" for step in map(str, STEPS_SHOWN)]
        accuracy = [f"{100 * one:.1f} %" for one in row["accuracy"]]
        exact = ["" if one is None else ("equal" if one == 0 else f"{one:.1e}") for one in
                 (row["resumed"], row["recorded"])]  # fmt: skip
        lines.append(f"| {row['method']} | {' | '.join([*apart, *accuracy, *exact])} | {verdict(row)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Examines the methods, one after the other, and writes what was found after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=("gpu",), default="gpu")
    parser.add_argument("--method", action="append", default=[], choices=list_methods(), help="only these, anew")
    parser.add_argument("--minutes", type=float, help="begin no method after these; what was examined before stays")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    began, place = time.monotonic(), RESULTS / "correctness_gpu"
    device = "cpu" if options.rehearse else "cuda"
    name = platform.processor() or platform.machine() if options.rehearse else torch.cuda.get_device_name()
    head = {"command": "python benchmarks/correctness.py --suite gpu", "machine": name, "torch": torch.__version__}
    earlier = json.loads(place.with_suffix(".json").read_text())["rows"] if place.with_suffix(".json").exists() else []
    rows = {row["method"]: row for row in earlier} if not options.rehearse else {}
    home = Path(tempfile.mkdtemp(prefix="kd-correctness-"))
    try:
        bench = Bench(home, device, options.rehearse)
        for method in options.method or list_methods():
            late = options.minutes and time.monotonic() - began > 60 * options.minutes
            if late or (method in rows and not options.method):
                continue
            start = time.monotonic()
            try:
                row = examine(bench, method)
            except (KdError, RuntimeError) as error:  # the others are examined all the same
                row = {"method": method, "error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
            # As it is read again: the keys of a JSON object are words.
            rows[method] = json.loads(json.dumps(row | {"seconds": round(time.monotonic() - start, 1)}))
            print(method, verdict(rows[method]) or "as it should be", f"{rows[method]['seconds']} s", flush=True)
            if not options.rehearse:
                place.with_suffix(".json").write_text(json.dumps(head | {"rows": list(rows.values())}, indent=1) + "\n")
                place.with_suffix(".md").write_text(table(head, list(rows.values())))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(table(head, list(rows.values())))


if __name__ == "__main__":
    main()
