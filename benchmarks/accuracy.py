"""Does a method help? Methods x seeds under one recipe, each compared with its baseline seed by seed.

    python benchmarks/accuracy.py --suite digits                # two cores, about 15 minutes
    python benchmarks/accuracy.py --suite digits_choices        # settings tried, on other seeds, chosen by validation
    python benchmarks/accuracy.py --suite digits_weights        # weights of 240-epoch recipes in short runs
    python benchmarks/accuracy.py --suite gpu --data DIR        # DIR holds cifar10/ and tiny-imagenet-100/
    python benchmarks/accuracy.py --suite gpu --data DIR --rehearse     # a hundred images, one epoch, on any machine

Restartable: what stands in results/accuracy_<suite>.json is not run again, an interrupted run goes on from its
checkpoint while the workspace lives. ``--minutes`` ends it in time: runs under way are stopped with a checkpoint.
Writes results/accuracy_<suite>.json (every run) and .md (the table).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import shutil
import signal
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from finished_runs import finished_run
from suites import DATASETS, SUITES, Arm, Suite

from kdengine.comparison import paired_difference, spread
from kdengine.errors import KdError
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace

RESULTS = Path(__file__).parent / "results"
log = logging.getLogger("accuracy")


def make_spec(arm: Arm, seed: int) -> ExperimentSpec:
    """The experiment of one row and seed."""
    return ExperimentSpec.from_mapping(arm.spec | {"seed": seed})


def key(spec: ExperimentSpec) -> str:
    """What decides the result: 16 hex digits. Of a folder of images its name counts, not where it lies."""
    decisive = {
        name: Path(str(value)).name if name.endswith("data.path") else value
        for name, value in spec.flat().items()
        if "runtime." not in name and not name.endswith("title")
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()[:16]


def train(mapping: dict[str, Any], home: str, threads: int) -> dict[str, Any]:
    """One run, found, resumed or begun, in this process; its numbers."""
    logging.basicConfig(level=logging.WARNING)
    mapping = mapping | {"runtime": mapping["runtime"] | {"threads": threads}}
    run = finished_run(ExperimentSpec.from_mapping(mapping), Workspace(home))
    # A run takes a hundred megabytes of checkpoint that nobody will resume.
    run.last_checkpoint.unlink(missing_ok=True)
    status, environment = run.status(), run.environment()
    return {
        "test_best": status["test"]["best"]["accuracy"],
        "test_last": status["test"]["last"]["accuracy"],
        "validation_best": status["best"]["accuracy"],
        "test": {name: numbers["accuracy"] for name, numbers in status["test"].items()},
        "seconds": round(status["ended"] - status["started"], 1),
        "device": environment["device_name"],
        "torch": environment["packages"]["torch"],
    }


def teachers(specs: list[ExperimentSpec]) -> list[ExperimentSpec]:
    """The runs that others wait for, each once."""
    found: dict[str, ExperimentSpec] = {}
    for spec in specs:
        inner = spec.teacher.spec if spec.teacher else None
        if inner is not None:
            found[inner.fingerprint()] = inner
    return list(found.values())


def run_all(jobs: list[tuple[str, int, ExperimentSpec]], store: dict[str, Any], options: argparse.Namespace) -> None:
    """Trains what is missing, teachers first, several at once; writes after each run."""
    missing = [job for job in jobs if key(job[2]) not in store["runs"]]
    deadline = time.monotonic() + 60 * options.minutes
    context = multiprocessing.get_context("spawn")
    stages = [[("teacher", spec.seed, spec) for spec in teachers([job[2] for job in missing])], missing]
    for stage in stages:
        pool = ProcessPoolExecutor(options.jobs, mp_context=context)
        waiting = {
            pool.submit(train, spec.model_dump(mode="json"), options.workspace, options.threads): (name, seed, spec)
            for name, seed, spec in stage
        }
        try:
            for future in as_completed(waiting, timeout=max(1.0, deadline - time.monotonic())):
                name, seed, spec = waiting[future]
                try:
                    numbers = future.result()
                except KdError as error:
                    log.error("%s, seed %d failed: %s", name, seed, error)
                    continue
                log.info(
                    "%s, seed %d: test %.2f %% in %.0f s", name, seed, 100 * numbers["test_best"], numbers["seconds"]
                )
                if name != "teacher":
                    store["runs"][key(spec)] = {"arm": name, "seed": seed} | numbers
                    write(store, options)
        except TimeoutError:
            log.warning("time is up: the runs under way are stopped with a checkpoint")
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            return
        pool.shutdown()


def write(store: dict[str, Any], options: argparse.Namespace) -> None:
    """JSON and table, each replaced at once."""
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in ((".json", json.dumps(store, indent=1) + "\n"), (".md", table(store, options.built))):
        temporary = out / f"accuracy_{options.suite}{suffix}.part"
        temporary.write_text(text)
        temporary.replace(out / f"accuracy_{options.suite}{suffix}")


def seeds_of(suite: Suite) -> range:
    """Which seeds a suite runs."""
    return range(suite.first_seed, suite.first_seed + suite.seeds)


def accuracies(store: dict[str, Any], arm: Arm, suite: Suite, which: str = "test_best") -> dict[int, float]:
    """Accuracy in percent by seed, of the runs that are there."""
    found = {seed: store["runs"].get(key(make_spec(arm, seed))) for seed in seeds_of(suite)}
    return {seed: 100 * run[which] for seed, run in found.items() if run}


def table(store: dict[str, Any], suite: Suite) -> str:
    """The Markdown table: mean, spread, and paired differences with their 95 % intervals."""
    arms = {arm.name: arm for arm in suite.arms}
    devices = sorted({f"{run['device']}, torch {run['torch']}" for run in store["runs"].values()})
    lines = [
        f"# {suite.title}", "", f"`{store['command']}`", "", suite.note, f"Hardware: {'; '.join(devices)}.", "",
        "Test accuracy in % of the weights best by validation, mean ± standard deviation over n seeds; differences are "
        "paired by seed, with 95 % intervals (Student's t).", "",
        "| arm | n | validation | test, best by validation | test, last | minus baseline | verdict | minus second |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for arm in suite.arms:
        own = accuracies(store, arm, suite)
        if not own:
            continue
        best, last, validation = (
            spread(list(accuracies(store, arm, suite, which).values()))
            for which in ("test_best", "test_last", "validation_best")
        )
        first = _difference(store, suite, own, arms.get(arm.baseline))
        second = _difference(store, suite, own, arms.get(arm.also))
        accuracy = [f"{group.mean:.2f} ± {group.deviation:.2f}" for group in (validation, best, last)]
        cells = (arm.name, str(best.n), *accuracy, *first, second[0])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _difference(store: dict[str, Any], suite: Suite, own: dict[int, float], other: Arm | None) -> tuple[str, str]:
    if other is None:
        return "", ""
    theirs = accuracies(store, other, suite)
    both = sorted(set(own) & set(theirs))
    if len(both) < 2:
        return "", ""
    gap = paired_difference([own[seed] for seed in both], [theirs[seed] for seed in both])
    return f"{gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}] to {other.name}", gap.verdict


def rehearse(suite: Suite, options: argparse.Namespace) -> Suite:
    """The same arms with one epoch on about a hundred images, one seed."""
    small = Path(options.workspace) / "rehearsal"
    for data in DATASETS:
        if not (small / data).is_dir() and options.data:
            _sample(Path(options.data) / data, small / data)

    def shorter(mapping: dict[str, Any]) -> dict[str, Any]:
        changed = mapping | {"recipe": mapping["recipe"] | {"epochs": 1, "batch_size": 32, "warmup_epochs": 0}}
        if mapping["data"]["name"] == "folder":
            changed["data"] = mapping["data"] | {"path": str(small / Path(mapping["data"]["path"]).name)}
        if "teacher" in mapping:
            changed["teacher"] = {"spec": shorter(mapping["teacher"]["spec"])}
        return changed

    return replace(suite, seeds=1, arms=[replace(arm, spec=shorter(arm.spec)) for arm in suite.arms])


def _sample(source: Path, target: Path) -> None:
    """A few images of each class: about a hundred to train, as many as classes to test."""
    classes = sorted(path.name for path in (source / "train").iterdir())
    for part, count in (("train", max(3, 100 // len(classes))), ("test", max(1, 20 // len(classes)))):
        for name in classes:
            folder = target / part / name
            folder.mkdir(parents=True)
            for image in sorted((source / part / name).iterdir())[:count]:
                shutil.copy(image, folder)


def main() -> None:
    """Runs what is missing, within the time given, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=sorted(SUITES), required=True)
    parser.add_argument("--data", default="", help="folder that holds cifar10/ and tiny-imagenet-100/")
    parser.add_argument("--workspace", default="kd-workspace", help="workspace folder")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run (default 1)")
    parser.add_argument("--minutes", type=float, default=1e4, help="stop in time")
    parser.add_argument("--only", default="", help="only arms whose name holds this text")
    parser.add_argument("--seeds", type=int, default=0, help="fewer or more seeds than the suite says")
    parser.add_argument("--rehearse", action="store_true", help="one epoch on a hundred images, one seed")
    parser.add_argument("--out", default="", help="folder of the results")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    suite = SUITES[options.suite](str(Path(options.data).resolve()))
    if options.rehearse:
        suite = rehearse(suite, options)
    options.out = options.out or str(Path(options.workspace) / "rehearsal" if options.rehearse else RESULTS)
    options.built = replace(suite, seeds=options.seeds or suite.seeds)
    file = Path(options.out) / f"accuracy_{options.suite}.json"
    command = f"python benchmarks/accuracy.py --suite {options.suite}" + (" --data DIR" if options.data else "")
    store = json.loads(file.read_text()) if file.is_file() else {"command": command, "runs": {}}
    arms = [arm for arm in options.built.arms if options.only in arm.name]
    # Seed by seed, so that all arms meet the same hour; and a table cut short has as many seeds of each arm.
    # Settings change; a run that no arm stands for any more would only confuse.
    current = {key(make_spec(arm, seed)) for arm in suite.arms for seed in seeds_of(suite)}
    if not options.seeds:
        store["runs"] = {name: run for name, run in store["runs"].items() if name in current}
    jobs = [(arm.name, seed, make_spec(arm, seed)) for seed in seeds_of(options.built) for arm in arms]
    began = time.time()
    run_all(jobs, store, options)
    write(store, options)
    log.info("done in %.0f s", time.time() - began)


if __name__ == "__main__":
    main()
