"""What the methods bring by a comparison that is fair to each, computed in as many sittings as it takes.

    python benchmarks/evidence.py --suite cifar10 --teachers DIR --minutes 120
    python benchmarks/evidence.py --suite cifar10 --tables            # only the tables, from what was kept

Every arm of a suite, the student alone too, is searched for the same number of epochs on validation, then runs on the
suite's seeds with its defaults and with what was found (`kd compare --tune-epochs`). The images lie under /data, as
`SUITES` says (a link does): the folder's path is part of an experiment's fingerprint, and must be the same everywhere.

At the end of a sitting all runs stop, and what has finished is kept in results/evidence_<suite>.tar.xz without weights:
the next sitting, on any machine, takes it from there and trains nothing twice. A run that was under way begins anew
where its checkpoint is gone. Also writes results/evidence_<suite>.md, .csv and .svg.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdengine import cli
from kdengine.comparison.measure import measure
from kdengine.comparison.plan import Plan, Tuning, make_plan
from kdengine.comparison.progress import progress, unmeasured
from kdengine.comparison.report import report
from kdengine.comparison.searches import searches
from kdengine.comparison.stored_plans import list_plans, load_plan
from kdengine.comparison.tables import FORMATS
from kdengine.errors import BadInput, KdError, Problem
from kdengine.jobs import JobStore, ensure_supervisor
from kdengine.jobs.job import STUDY_PREFIX
from kdengine.teachers.records import list_imports
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State
from studies import comparing

RESULTS = Path(__file__).parent / "results"
KEPT = ("spec.yaml", "status.json", "events.jsonl", "environment.json", "model_card.json", "measured.json")
"""Of a finished run: all but weights, checkpoints and what was inspected."""
OF_PROCESS = ("process", "start_token")
WRITTEN = {"markdown": ".md", "csv": ".csv", "svg": ".svg"}
LOOK_S = 5.0
STOPPING_S = 300.0
log = logging.getLogger("evidence")


@dataclass(frozen=True)
class Suite:
    """One comparison.

    Attributes:
        experiment: that all arms share.
        methods: beside the student alone.
        teacher: file of published weights, its architecture and normalisation, under the name that the experiment
            gives it.
        tuning: epochs that the search of each arm trains.
        seeds: of every arm.
    """

    experiment: dict[str, Any]
    methods: tuple[str, ...]
    teacher: tuple[str, ...]
    tuning: int
    seeds: int


SUITES = {
    # 500 images a class, the published ResNet-56 (93.4 %) as the teacher.
    "cifar10": Suite(
        experiment={
            "data": {
                "name": "folder", "path": "/data/cifar10", "per_class": 500, "image_size": 32, "validation": 0.05,
            },
            "student": "resnet20",
            "teacher": "import:rn56",
            "recipe": {"epochs": 20, "batch_size": 64},
            "runtime": {"device": "cpu", "threads": 1},
        },
        methods=("kd", "dkd", "dcad", "grkd", "byot", "fusion_self", "ama_self"),
        teacher=(
            "rn56", "cifar10_resnet56.safetensors", "--model", "resnet56", "--image-size", "32",
            "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225",
        ),
        tuning=80,
        seeds=5,
    ),
}  # fmt: skip


def plan_of(name: str) -> Plan:
    """The comparison of a suite."""
    suite = SUITES[name]
    tuning = Tuning(epochs=suite.tuning)
    return make_plan(name, suite.experiment, suite.methods, range(suite.seeds), cutmix=False, tuning=tuning)


def archive_of(name: str, results: Path) -> Path:
    """Where the finished runs of a suite are kept."""
    return results / f"evidence_{name}.tar.xz"


def keep(name: str, workspace: Workspace, results: Path) -> int:
    """Writes the archive: the finished runs of a comparison and of its searches, and the searches; how many runs.

    What the archive of before holds and the workspace does not is lost: `restore` comes first.
    """
    target = archive_of(name, results)
    part = target.with_suffix(".part")
    runs = sorted(finished_runs(name, workspace), key=lambda run: run.id)
    with tarfile.open(part, "w:xz") as archive:
        for run in runs:
            for file in (run.path / each for each in KEPT):
                if file.is_file():
                    _add(archive, f"runs/{run.id}/{file.name}", _content(file))
        _add(archive, f"comparisons/{name}/plan.yaml", (workspace.comparisons / name / "plan.yaml").read_bytes())
        if workspace.studies_db.is_file():
            _add(archive, "studies.db", _whole(workspace.studies_db))
    part.replace(target)
    return len(runs)


def restore(name: str, workspace: Workspace, results: Path) -> int:
    """Puts what was kept into a workspace that has never seen the comparison; how many runs.

    Raises:
        BadInput: the workspace has other studies, which those of the archive would replace.
    """
    source = archive_of(name, results)
    if not source.is_file() or name in list_plans(workspace):
        return 0
    if workspace.studies_db.is_file():
        raise BadInput(Problem("--workspace", f"{workspace.root} has studies already; give {name} one of its own"))
    workspace.settle(new=True)
    with tarfile.open(source) as archive:
        archive.extractall(workspace.root, filter="data")
        return sum(member.name.endswith("/status.json") for member in archive.getmembers())


def finished_runs(name: str, workspace: Workspace) -> Iterator[RunDirectory]:
    """Those of the comparison and of its searches."""
    plan = load_plan(workspace, name)
    wanted = {cell.fingerprint for cell in plan.cells}
    studies = {f"{STUDY_PREFIX}{search.study}" for search in searches(plan, workspace)}
    for run in workspace.list_runs():
        status = run.status()
        belongs = status.get("fingerprint") in wanted or status.get("study") in studies
        if belongs and status.get("state") in (State.FINISHED, State.PRUNED):
            yield run


def _content(file: Path) -> bytes:
    """A file without what says which process wrote it."""
    if file.name != "status.json":
        return file.read_bytes()
    status = json.loads(file.read_text())
    return json.dumps({key: value for key, value in status.items() if key not in OF_PROCESS}, indent=1).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """The same content gives the same archive, whoever writes it and when."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _whole(database: Path) -> bytes:
    """What a database holds at one moment, whoever writes to it meanwhile."""
    with closing(sqlite3.connect(database)) as source:
        return source.serialize()


def compute(plan: Plan, workspace: Workspace, minutes: float) -> None:
    """Begins or takes up the comparison, and stops it with checkpoints when the time is over."""
    begun = plan.name in list_plans(workspace)
    comparing.begin(plan, workspace)
    if begun:
        comparing.resume(plan.name, workspace)
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        ensure_supervisor(workspace)
        now = load_plan(workspace, plan.name)
        if not progress(now, workspace).under_way and not any(each.under_way for each in searches(now, workspace)):
            return
        time.sleep(LOOK_S)
    comparing.stop(load_plan(workspace, plan.name), workspace)
    ends = time.monotonic() + STOPPING_S
    while any(not job.state.ended for job in JobStore(workspace).jobs()) and time.monotonic() < ends:
        ensure_supervisor(workspace)
        time.sleep(LOOK_S)


def measure_finished(name: str, workspace: Workspace) -> None:
    """Fidelity, size and latency of the finished runs that have weights: of those that come from an archive none do."""
    now = progress(load_plan(workspace, name), workspace)
    for run in unmeasured(now):
        try:
            measure(run, now.teacher, workspace)
        except KdError as error:
            log.warning("%s cannot be measured: %s", run.id, error)


def write_tables(name: str, workspace: Workspace, results: Path) -> None:
    """The table and the figure of what has finished so far."""
    found = report(progress(load_plan(workspace, name), workspace))
    for kind, suffix in WRITTEN.items():
        text = FORMATS[kind](found)
        if kind == "markdown":
            title, _, rest = text.partition("\n")
            text = f"{title}\n\n`python benchmarks/evidence.py --suite {name} --teachers DIR`\n{rest}"
        (results / f"evidence_{name}{suffix}").write_text(text)


def main() -> None:
    """One sitting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=sorted(SUITES), required=True)
    parser.add_argument("--teachers", default="", help="folder of the published weights")
    parser.add_argument("--workspace", default="kd-workspace", help="workspace folder")
    parser.add_argument("--minutes", type=float, default=1e4, help="stop in time")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default 2)")
    parser.add_argument("--tables", action="store_true", help="train nothing, write what is there")
    parser.add_argument("--out", default=str(RESULTS), help="folder of the results")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    os.environ["KD_HOME"], os.environ["KD_CPU_SLOTS"] = options.workspace, str(options.jobs)
    workspace, results = Workspace(options.workspace), Path(options.out)
    log.info("%d runs were kept before", restore(options.suite, workspace, results))
    if not options.tables:
        teacher = SUITES[options.suite].teacher
        if teacher[0] not in [each.name for each in list_imports(workspace)]:
            cli.main(["import", teacher[0], "--weights", str(Path(options.teachers) / teacher[1]), *teacher[2:]])
        compute(plan_of(options.suite), workspace, options.minutes)
        measure_finished(options.suite, workspace)
    log.info("%d runs are kept", keep(options.suite, workspace, results))
    write_tables(options.suite, workspace, results)


if __name__ == "__main__":
    main()
