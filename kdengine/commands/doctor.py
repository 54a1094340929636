"""``kd doctor``: a line for each thing that can be wrong with an installation or a workspace, and what to do."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from kdengine.commands import doctor_gpus, doctor_plugins
from kdengine.commands.findings import OK, PROBLEM, WARNING, Finding
from kdengine.commands.tables import show, show_json
from kdengine.errors import KdError
from kdengine.extras import EXTRAS
from kdengine.units import memory, size
from kdengine.workspace import Workspace, files
from kdengine.workspace import format as workspace_format
from kdengine.workspace.rundir import RunDirectory

if TYPE_CHECKING:
    from kdengine.jobs import Job

MIN_FREE, LITTLE_FREE = 200 << 20, 2 << 30
LITTLE_MEMORY = 2 << 30
BEAT_LIMIT_S = 30.0
EXIT_PROBLEM = 3


Check = Callable[[Workspace], Iterator[Finding]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd doctor``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(options: argparse.Namespace) -> int:
    """Prints all findings; 3 when there is a problem among them, else 0."""
    findings = examine(Workspace())
    if options.json:
        show_json([finding._asdict() for finding in findings])
    else:
        rows = [(found.level, found.subject, "; ".join(filter(None, (found.text, found.advice)))) for found in findings]
        show(("", "what", "found"), rows)
    return EXIT_PROBLEM if any(found.level == PROBLEM for found in findings) else 0


def examine(workspace: Workspace) -> list[Finding]:
    """All checks. One that fails itself is a problem too, and does not keep the others from running."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings += check(workspace)
        except Exception as error:
            name = check.__name__.lstrip("_")
            findings.append(Finding(PROBLEM, name, f"could not be looked at ({type(error).__name__}: {error})"))
    return findings


# the installation ----------------------------------------------------------------------------------------------------


def _python(workspace: Workspace) -> Iterator[Finding]:
    yield Finding(OK, "Python", f"{platform.python_version()} in {sys.prefix}")


def _packages(workspace: Workspace) -> Iterator[Finding]:
    needed: list[Requirement] = []
    optional: dict[str, list[Requirement]] = {name: [] for name in EXTRAS}
    for requirement in map(Requirement, requires("kdengine") or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed.append(requirement)
        for extra, brought in optional.items():
            if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
                brought.append(requirement)
    there, wrong = _compared(needed)
    lacking = []
    for extra, requirements in optional.items():
        found, unfit = _compared(requirements)
        if len(found) < len(requirements):
            lacking.append(extra)
        else:
            there += found
            wrong += unfit
    if wrong:
        yield Finding(PROBLEM, "packages", ", ".join(wrong), "install them into this environment: pip install -e .")
    else:
        yield Finding(OK, "packages", ", ".join(dict.fromkeys(there)))
    if lacking:
        ways = "they bring the dashboard (ui), studies, MLflow (track) and ONNX (export)"
        yield Finding(
            OK, "extras", f"without {', '.join(lacking)}; {ways}: pip install 'kdengine[{','.join(lacking)}]'"
        )


def _compared(wanted: list[Requirement]) -> tuple[list[str], list[str]]:
    """What is installed, with its version, and what is missing or of another version."""
    there, wrong = [], []
    for requirement in wanted:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement} is missing")
            continue
        there.append(f"{requirement.name} {found}")
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is here, {requirement} is wanted")
    return there, wrong


def _torch(workspace: Workspace) -> Iterator[Finding]:
    import torch
    import torchvision

    found = f"torch {torch.__version__}, torchvision {torchvision.__version__}, CUDA {torch.version.cuda or 'no'}"
    try:
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (RuntimeError, NotImplementedError):
        advice = "they were built for each other only when both come from one source: reinstall the two together"
        yield Finding(PROBLEM, "torch build", f"{found}; torchvision's operators do not load", advice)
        return
    yield Finding(OK, "torch build", found)


def _cpu(workspace: Workspace) -> Iterator[Finding]:
    import torch

    from kdengine.training.hardware import Precision, available_cores, describe, has_fast_bf16

    cpu = torch.device("cpu")
    name = describe(cpu, 1, Precision())["device_name"]
    fast = "fast bfloat16" if has_fast_bf16(cpu) else "no fast bfloat16 (fp32 is used)"
    yield Finding(OK, "cpu", f"{name}, {available_cores()} of {os.cpu_count()} cores, {fast}")


def _load(workspace: Workspace) -> Iterator[Finding]:
    import psutil

    from kdengine.training.hardware import available_cores

    cores, busy = available_cores(), psutil.getloadavg()[0]
    text = f"{busy:.1f} of {cores} cores busy in the last minute"
    if busy > 0.75 * cores:
        yield Finding(WARNING, "load", text, "runs share the cores and are slower; runtime.threads=1 disturbs least")
    else:
        yield Finding(OK, "load", text)
    free = psutil.virtual_memory().available
    if free < LITTLE_MEMORY:
        yield Finding(WARNING, "memory", f"{memory(free)} available", "end other programs or use small batches")
    else:
        yield Finding(OK, "memory", f"{memory(free)} available")


# the workspace -------------------------------------------------------------------------------------------------------


def _workspace(workspace: Workspace) -> Iterator[Finding]:
    place = workspace.root
    while not place.exists():
        place = place.parent
    trouble = _write_trouble(workspace, place)
    if trouble:
        yield Finding(PROBLEM, "workspace", trouble, "set KD_HOME to a folder that can be written to")
        return
    number = workspace_format.found(place) if place == workspace.root else None
    made = ", made at the first run" if place != workspace.root else f", format {number}" if number is not None else ""
    yield Finding(OK, "workspace", f"{workspace.root}{made}")
    free = shutil.disk_usage(place).free
    text = f"{size(free)} free"
    if free < LITTLE_FREE:
        level = PROBLEM if free < MIN_FREE else WARNING
        yield Finding(level, "disk", text, "`kd disk` says what takes room; free some, or set KD_HOME to another disk")
    else:
        yield Finding(OK, "disk", text)


def _write_trouble(workspace: Workspace, place: Path) -> str:
    """Why the workspace cannot be written to; "" when it can. ``place`` is the part of its path that exists."""
    if place == workspace.root:
        try:
            workspace.check_writable()
        except KdError as error:
            return str(error)
        return ""
    can_make = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return "" if can_make else f"{workspace.root} does not exist and cannot be made in {place}"


def _databases(workspace: Workspace) -> Iterator[Finding]:
    for path in (workspace.jobs_db, workspace.mlflow_db, workspace.studies_db):
        if not path.exists():
            continue
        trouble = _database_trouble(path)
        if trouble:
            advice = "end all kd programs, move the file aside; the runs themselves are in their folders"
            yield Finding(PROBLEM, path.name, trouble, advice)
        else:
            yield Finding(OK, path.name, f"readable, {size(path.stat().st_size)}")
    if os.environ.get("MLFLOW_TRACKING_URI"):
        address = re.sub(r"//[^/@]*@", "//", os.environ["MLFLOW_TRACKING_URI"])
        yield Finding(OK, "MLflow", f"runs are logged to {address}")


def _database_trouble(path: Path) -> str:
    """Why a database cannot be used; "" when it can."""
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            db.close()
    except sqlite3.Error as error:
        return f"cannot be read: {error}"
    return "" if verdict == "ok" else f"is damaged: {verdict}"


def _dashboard(workspace: Workspace) -> Iterator[Finding]:
    from kdengine.workspace.dashboards import at_work

    found = [str(one["url"]) for one in at_work(workspace) if one.get("url")]
    if found:
        yield Finding(OK, "dashboard", f"{', '.join(found)} (`kd ui --list` prints the address that lets you in)")
    else:
        yield Finding(OK, "dashboard", "none of yours is at work for this workspace; `kd ui` opens one")


def _supervisor(workspace: Workspace) -> Iterator[Finding]:
    from kdengine.jobs import JobStore, supervisor_identity
    from kdengine.jobs.job import UNENDED

    waiting = [job.id for job in JobStore(workspace).jobs(UNENDED)]
    found = supervisor_identity(workspace)
    if found is None:
        if waiting:
            advice = "`kd ui`, or `kd jobs resume` of any, starts one"
            yield Finding(WARNING, "supervisor", f"none is at work, but {len(waiting)} jobs wait for one", advice)
        else:
            yield Finding(OK, "supervisor", "none is at work, and nothing waits for one")
        return
    silent = time.time() - (found.get("heartbeat") or 0)
    text = f"process {found['pid']}, {len(waiting)} jobs under way or queued"
    if silent > BEAT_LIMIT_S:
        advice = f"read {workspace.root / 'supervisor.log'}; end the process, the next one takes over"
        yield Finding(WARNING, "supervisor", f"{text}; silent for {silent:.0f} s", advice)
    else:
        yield Finding(OK, "supervisor", text)


def _runs(workspace: Workspace) -> Iterator[Finding]:
    from kdengine.jobs import JobStore
    from kdengine.jobs.executor import RUNNING_LOCK

    rows = {job.id: job for job in JobStore(workspace).jobs()}
    runs = workspace.list_runs()
    troubles: list[Finding] = []
    for run in runs:
        troubles += _damages(run, rows.get(run.id))
        troubles += _run_troubles(run, files.is_held(run.path / RUNNING_LOCK))
    for job_id in rows.keys() - {run.id for run in runs}:
        text = "has a row but no folder any more"
        troubles.append(Finding(WARNING, f"run {job_id}", text, f"kd jobs delete {job_id}"))
    yield Finding(OK, "runs", f"{len(runs)} in {workspace.runs}")
    yield from troubles


def _damages(run: RunDirectory, job: Job | None) -> Iterator[Finding]:
    for text in (run.damage(), job.damaged if job is not None else ""):
        if text:
            yield Finding(WARNING, f"run {run.id}", text)


def _run_troubles(run: RunDirectory, held: bool) -> Iterator[Finding]:
    from kdengine.jobs.job import ACTIVE
    from kdengine.jobs.of_runs import works_now

    status = run.status()
    state, process = status.get("state"), status.get("process") or {}
    if state in ACTIVE and not held and not works_now(run, status):
        text = f"says it is {state}, but its process is gone"
        yield Finding(WARNING, f"run {run.id}", text, f"kd jobs resume {run.id}")
    if held and state not in ACTIVE:
        text = f"is {state}, but a process holds its lock"
        yield Finding(WARNING, f"run {run.id}", text, f"see what process {process.get('pid', '?')} does")


def _teachers(workspace: Workspace) -> Iterator[Finding]:
    from kdengine.teachers.records import damaged_imports, list_imports

    advice = "put back a copy of the file, or import the teacher again: kd import"
    for text in damaged_imports(workspace):
        yield Finding(WARNING, "teacher", text, advice)
    yield Finding(OK, "teachers", f"{len(list_imports(workspace))} in {workspace.teachers}")


def _comparisons(workspace: Workspace) -> Iterator[Finding]:
    from kdengine.comparison.stored_plans import list_plans, load_plan

    names = list_plans(workspace)
    for name in names:
        try:
            load_plan(workspace, name)
        except KdError as error:
            yield Finding(
                WARNING, f"comparison {name}", str(error), "put back a copy of the file, or delete its folder"
            )
    yield Finding(OK, "comparisons", f"{len(names)} in {workspace.comparisons}")


def _stores(workspace: Workspace) -> Iterator[Finding]:
    from kdengine.data.decoded_images import list_stores

    whole = 0
    for folder, store in list_stores(workspace.cache):
        if store is None:
            yield Finding(
                WARNING, "store", f"{folder} is damaged", "delete the folder; it is built again when it is needed"
            )
        else:
            whole += 1
    yield Finding(OK, "stores", f"{whole} decoded data set(s) in {workspace.cache}")


CHECKS: tuple[Check, ...] = (
    *(_python, _packages, doctor_plugins.plugins_found, _torch, _cpu, doctor_gpus.gpus, _load),
    *(_workspace, _databases, _dashboard, doctor_gpus.queue, _supervisor, _runs, _teachers, _comparisons, _stores),
)
