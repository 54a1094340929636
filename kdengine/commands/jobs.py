"""``kd jobs``: the queue and all runs, and what can be done with one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from kdengine.commands.console import waiting
from kdengine.commands.tables import show, show_json, show_pairs
from kdengine.errors import BadInput, KdError, Problem
from kdengine.jobs import (
    Job,
    JobStore,
    as_it_is,
    dead_end,
    ensure_supervisor,
    last_looks,
    request,
    stalled,
    supervisor_alive,
    waits_in_vain,
)
from kdengine.jobs.job import ACTIVE, UNENDED
from kdengine.jobs.remedies import command, offered
from kdengine.jobs.settings import set_jobs_per_gpu
from kdengine.units import duration, size
from kdengine.workspace import Workspace
from kdengine.workspace.annotations import read_annotations
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

LOOK_S = 0.5
LOG_LINES = 40
EXIT_WAITS = 3
COLUMNS = ("state", "id", "name", "data", "method", "best", "progress", "age")
# How each form knows itself again, and how processes find theirs: of no use to a reader.
PRIVATE = ("token", "start_token", "told")


class Action(NamedTuple):
    """What can be asked of a job: its help, and how it is done where it is no `kdengine.jobs.request`."""

    help: str
    do: Callable[[JobStore, str], object] | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd jobs``."""
    changes = ", ".join(f"{name} ({action.help})" for name, action in ACTIONS.items())
    reads = "list (the default), show, log, wait (until it has ended; the exit code says how)"
    parser.add_argument("action", nargs="?", default="list", choices=("list", *READS, *ACTIONS), metavar="ACTION",
                        help=f"{reads}, {changes}")  # fmt: skip
    parser.add_argument("job", nargs="?", metavar="ID", help="id of the job, or a unique beginning or end of it")
    parser.add_argument("-f", "--follow", action="store_true", help="log: go on until the job has ended")
    parser.add_argument("-n", "--lines", type=int, default=LOG_LINES, help=f"log: last lines (default {LOG_LINES})")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--jobs-per-gpu", type=int, metavar="N",
                        help="let N runs share a GPU, here and from now on; 0: what KD_JOBS_PER_GPU says")  # fmt: skip


def main(options: argparse.Namespace) -> int:
    """Lists, shows one job, or changes one."""
    workspace = Workspace()
    store = JobStore(workspace)
    if options.jobs_per_gpu is not None:
        set_jobs_per_gpu(workspace, options.jobs_per_gpu or None)
    if options.action == "list":
        if options.job:
            raise BadInput(Problem("", f"list takes no id; `kd jobs show {options.job}` shows one job"))
        return _list(store, options.json)
    if not options.job:
        raise BadInput(Problem("", f"which job? `kd jobs {options.action} ID`; `kd jobs` lists all"))
    job = _find(store, options.job)
    if options.action in READS:
        return READS[options.action](store, job, options)
    return _change(store, job, options.action, options.json)


def _find(store: JobStore, words: str) -> Job:
    """The job of that id or unique part of it; a run started from a shell gets its row now."""
    exact = store.find(words)
    if exact is not None:
        return exact
    run = store.workspace.existing_run(words)
    job = store.find(run.id) or store.adopt(run)
    if job is None:
        raise BadInput(Problem("job", f"the run {run.id} is only just starting; try again in a moment"))
    return job


def _change(store: JobStore, job: Job, what: str, as_json: bool) -> int:
    do = ACTIONS[what].do
    if do is None:
        request(store.workspace, job.id, what)
    else:
        do(store, job.id)
    now = store.find(job.id)
    if as_json:
        show_json({"id": job.id, "state": now.state if now else "deleted", "request": now.request if now else None})
    else:
        sys.stdout.write(f"{job.id}: {_ending(now)}\n")
    return 0


def _ending(job: Job | None) -> str:
    if job is None:
        return "deleted"
    if job.request and job.state in ACTIVE:
        return "asked to stop; it writes a checkpoint first" if job.request == "stop" else "is being killed"
    return str(job.state)


def _delete(store: JobStore, job_id: str) -> None:
    from kdengine import tracking

    students = store.dependents(job_id)
    tracking.delete_run(store, job_id)
    if students:
        sys.stderr.write(f"kd: {', '.join(students)} learnt from it; what was known of it is kept in each\n")


ACTIONS: dict[str, Action] = {
    "stop": Action("write a checkpoint and end"),
    "kill": Action("end at once"),
    "resume": Action("continue from the last checkpoint"),
    "accept": Action("continue although the data changed"),
    "cancel": Action("take out of the queue"),
    "delete": Action("remove row and folder for good", _delete),
    "up": Action("earlier in the queue"),
    "down": Action("later in the queue"),
}


# list ----------------------------------------------------------------------------------------------------------------


def _list(store: JobStore, as_json: bool) -> int:
    _adopt_all(store)
    watched = supervisor_alive(store.workspace)
    found = [_seen(store, job, watched) for job in store.jobs()]
    if as_json:
        show_json([_described(store, job, status) for job, status in found])
        return 0
    if not found:
        sys.stdout.write(f"There are no jobs in {store.workspace.root}. `kd train --queue` makes one.\n")
        return 0
    damages = {job.id: _damage(store, job, status) for job, status in found}
    show(COLUMNS, [_row(store, job, status, damages[job.id]) for job, status in found])
    sys.stderr.writelines(f"kd: {job_id}: {damage}\n" for job_id, damage in damages.items() if damage)
    if any(job.state in UNENDED for job, _ in found) and not watched:
        sys.stderr.write("No supervisor is at work, so nothing is started or stopped; `kd ui` or a resume starts it.\n")
    return 0


def _seen(store: JobStore, job: Job, watched: bool) -> tuple[Job, dict[str, Any]]:
    """A job as it is, and its status; ``watched``: whether a supervisor keeps its row true."""
    status = _status(store, job)
    return (job if watched else as_it_is(job, status, store.workspace.root)), status


def _adopt_all(store: JobStore) -> None:
    """Gives runs from a shell their rows, as the supervisor would; a workspace that is read-only is only read."""
    known = {job.id for job in store.jobs()}
    for run in store.workspace.list_runs():
        if run.id not in known:
            try:
                store.adopt(run)
            except KdError as error:
                sys.stderr.write(f"kd: {run.id} is not in the table: {error}\n")


def _row(store: JobStore, job: Job, status: dict[str, Any], damage: str) -> list[str]:
    state = "stalled" if _is_stalled(store, job, status) else str(job.state)
    best = (status.get("best") or {}).get("accuracy")
    return [
        state,
        job.id,
        _name(store, job),
        job.dataset,
        job.method,
        "" if best is None else f"{100 * best:.1f} %",
        ", ".join(filter(None, ("damaged" if damage else "", _progress(job, status), _missed(status)))),
        duration(time.time() - job.submitted),
    ]


def _name(store: JobStore, job: Job) -> str:
    """What a person calls it, with the tags; else the name that it was launched with."""
    said = read_annotations(store.workspace.run(job.id))
    name = said.name or (job.name if job.name != job.id else "")
    return " ".join(filter(None, (name, *(f"#{tag}" for tag in said.tags))))


def _progress(job: Job, status: dict[str, Any]) -> str:
    """Where it stands in a few words: epoch and time left, what it waits for, or why it ended."""
    if job.state is State.QUEUED:
        return job.message or "waits"
    at = status.get("progress")
    epochs = (
        f"{at['epoch']}/{at['epochs']} epochs"
        if at and "epoch" in at and "epochs" in at
        else status.get("phase", "")
        if job.is_controller
        else ""
    )
    if job.state.ended:
        why = "" if job.state is State.FINISHED else job.reason or ""
        return ", ".join(filter(None, (epochs, why if why != job.state else "")))
    left = status.get("eta_s")
    parts = (epochs, f"{duration(left)} left" if left and at else status.get("phase", ""))
    return ", ".join(dict.fromkeys(filter(None, parts)))


def _is_stalled(store: JobStore, job: Job, status: dict[str, Any]) -> bool:
    return job.state is State.RUNNING and stalled(status, looks=partial(last_looks, store.workspace.run(job.id)))


def _missed(status: dict[str, Any]) -> str:
    return "on the CPU, for want of a GPU" if status.get("lacking") else ""


def _status(store: JobStore, job: Job) -> dict[str, Any]:
    return store.workspace.run(job.id).status()


def _damage(store: JobStore, job: Job, status: dict[str, Any]) -> str:
    """What of a job cannot be read, and what to do about it; "" when all can."""
    return " ".join(filter(None, (job.damaged, store.workspace.run(job.id).damage(status))))


def _described(store: JobStore, job: Job, status: dict[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in asdict(job).items() if key not in PRIVATE}
    said = read_annotations(store.workspace.run(job.id))
    return row | {
        **{"name": said.name or job.name, "tags": list(said.tags), "note": said.notes},
        "stalled": _is_stalled(store, job, status),
        "status": status,
        "damaged": _damage(store, job, status) or None,
    }


# one job -------------------------------------------------------------------------------------------------------------


def _show(store: JobStore, job: Job, options: argparse.Namespace) -> int:
    job, status = _seen(store, job, supervisor_alive(store.workspace))
    run = store.workspace.run(job.id)
    if options.json:
        show_json(_described(store, job, status) | {"path": str(run.path)})
        return 0
    test = ((status.get("test") or {}).get("best") or {}).get("accuracy")
    best = status.get("best") or {}
    said = read_annotations(run)
    show_pairs(
        [
            ("id", job.id),
            ("name", said.name or job.name),
            ("state", "stalled" if _is_stalled(store, job, status) else str(job.state)),
            ("progress", _progress(job, status)),
            ("data", job.dataset),
            ("method", job.method),
            ("student", job.student),
            ("teacher", " ".join(filter(None, (job.teacher, status.get("teacher_run"))))),
            ("best validation", f"{100 * best['accuracy']:.1f} % (epoch {best['epoch']})" if best else ""),
            ("test", "" if test is None else f"{100 * test:.1f} %"),
            ("attempts", str(job.attempt)),
            ("waits for", job.after or ""),
            ("slot", " ".join(filter(None, (job.slot, job.device)))),
            ("no GPU", status.get("lacking") or ""),
            ("message", job.message or ""),
            ("advice", job.advice or ""),
            *(("or", f"{command(run.spec_file, each)}  # {each['label']}") for each in offered(status)),
            ("tags", ", ".join(said.tags)),
            ("notes", said.notes),
            ("folder", str(run.path)),
            ("size", size(run.size()) if run.exists else "gone"),
            ("command", run.command()),
            ("damaged", _damage(store, job, status)),
        ]
    )
    return 0


def _log(store: JobStore, job: Job, options: argparse.Namespace) -> int:
    run = store.workspace.run(job.id)
    position = run.log_file.stat().st_size if run.log_file.exists() else 0
    sys.stdout.writelines(f"{line}\n" for line in run.log_tail(options.lines))
    while options.follow:
        ended = store.get(job.id).state.ended  # before the last look: what it wrote until then is printed
        position = _print_from(run, position)
        if ended:
            break
        time.sleep(LOOK_S)
    return 0


def _print_from(run: RunDirectory, position: int) -> int:
    if not run.log_file.exists():
        return position
    with run.log_file.open("rb") as file:
        file.seek(position)
        fresh = file.read()
    sys.stdout.write(fresh.decode(errors="replace"))
    sys.stdout.flush()
    return position + len(fresh)


def _wait(store: JobStore, job: Job, options: argparse.Namespace) -> int:
    if not job.state.ended:
        ensure_supervisor(store.workspace)
    with waiting() as report:
        while not job.state.ended:
            awaited = dead_end(job, {each.id: each for each in store.jobs()})
            if awaited is not None:
                sys.stderr.write(f"kd: {job.id} {waits_in_vain(awaited)}\n")
                return EXIT_WAITS
            report(f"{job.id}: {job.state}, {_progress(job, _status(store, job))}")
            time.sleep(LOOK_S)
            job = store.get(job.id)
    if options.json:
        show_json(_described(store, job, _status(store, job)))
    else:
        sys.stdout.write(f"{job.id}: {job.state}" + (f", {job.message}" if job.message else "") + "\n")
    return exit_code(job)


def exit_code(job: Job) -> int:
    """The exit code of a command for how a job ended: 0 done, 2 bad input, 3 failed or lost, 130/143 stopped."""
    if job.state in (State.FINISHED, State.PRUNED):
        return 0
    if job.state is State.STOPPED:
        return 130 if job.exit_code == 130 else 143
    return 2 if job.exit_code == 2 else 3


Read = Callable[[JobStore, Job, argparse.Namespace], int]
READS: dict[str, Read] = {"show": _show, "log": _log, "wait": _wait}
