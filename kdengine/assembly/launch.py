"""From a spec to jobs in the queue: the student's, and before it the teacher's where one must be trained first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from kdengine import assembly
from kdengine.errors import every
from kdengine.jobs import Job, JobLabels, JobStore
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import pinned
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import new_run_id
from kdengine.workspace.states import State


def launch(
    spec: ExperimentSpec, workspace: Workspace, *, run_id: str | None = None, token: str | None = None
) -> list[Job]:
    """Checks an experiment and queues it.

    Args:
        spec: the experiment; an equal teacher that is finished, running or queued is used instead of a new one.
        workspace: where the queue is.
        run_id: id of the student's run; a fresh one by default.
        token: of a form: the same token twice gives the same job, not a second one.

    Returns:
        The new jobs in the order they will run; the student's is the last.

    Raises:
        BadInput: every problem at once; nothing was queued.
    """
    return _launch([(spec, token)], workspace, run_id)


def launch_all(
    specs: Sequence[ExperimentSpec], workspace: Workspace, *, run_id: str | None = None, token: str | None = None
) -> list[Job]:
    """Checks and queues several experiments: all are looked at before the first is queued, so that all are or none.

    Args:
        specs: the experiments.
        workspace: where the queue is.
        run_id: id of the run where there is one experiment alone.
        token: of a form, as in `launch`; each experiment has its own part of it.

    Returns:
        The new jobs in the order they will run. A form sent twice gets the students' jobs of the first time.

    Raises:
        BadInput: every problem at once; nothing was queued.
    """
    tokens = [f"{token}-{number}" if token is not None else None for number in range(len(specs))]
    return _launch(list(zip(specs, tokens, strict=True)), workspace, run_id)


def _launch(asked: Sequence[tuple[ExperimentSpec, str | None]], workspace: Workspace, run_id: str | None) -> list[Job]:
    """Queues what no earlier sending of its token has queued, once all of that is checked."""
    known = {job.token: job for job in JobStore(workspace).jobs() if job.token is not None}
    every(partial(assembly.preflight, spec, workspace) for spec, token in asked if token not in known)
    jobs: list[Job] = []
    for spec, token in asked:
        jobs += [known[token]] if token in known else submit(spec, workspace, run_id=run_id, token=token)
    return jobs


def submit(
    spec: ExperimentSpec,
    workspace: Workspace,
    *,
    run_id: str | None = None,
    token: str | None = None,
    status: Mapping[str, Any] = MappingProxyType({}),
) -> list[Job]:
    """Queues an experiment that was checked already; else as `launch`.

    Args:
        status: what else the status of the student's run says from the beginning, e.g. the study it belongs to.
    """
    spec = pinned(spec, workspace)
    store = JobStore(workspace)
    jobs: list[Job] = []
    teacher_id: str | None = spec.teacher.run if spec.teacher else None
    waits_for: str | None = None
    if spec.teacher is not None and spec.teacher.spec is not None:
        teacher = spec.teacher.spec
        finished = assembly.find_finished(workspace, teacher.fingerprint())
        under_way = _under_way(store, teacher.fingerprint())
        if finished is None and under_way is None:
            under_way = _submit(teacher, store, new_run_id(f"teacher-{teacher.student.name}", workspace.runs))
            jobs.append(under_way)
        teacher_id = finished.id if finished is not None else under_way.id  # type: ignore[union-attr]
        waits_for = None if finished is not None else teacher_id
    known = dict(status) | ({"teacher_run": teacher_id} if teacher_id is not None else {})
    job = _submit(
        spec, store, run_id or new_run_id(spec.method.name, workspace.runs), after=waits_for, token=token, status=known
    )
    return [*jobs, job]


def _under_way(store: JobStore, fingerprint: str) -> Job | None:
    waiting = (State.QUEUED, State.STARTING, State.RUNNING)
    return next((job for job in store.jobs(waiting) if job.fingerprint == fingerprint), None)


def _submit(
    spec: ExperimentSpec,
    store: JobStore,
    run_id: str,
    *,
    after: str | None = None,
    token: str | None = None,
    status: Mapping[str, Any] = MappingProxyType({}),
) -> Job:
    labels = JobLabels(
        name=spec.title or spec.label(),
        dataset=spec.data.name,
        method=spec.method.name,
        student=spec.student.name,
        teacher=spec.teacher_label(),
        fingerprint=spec.fingerprint(),
    )
    return store.submit(
        spec.to_yaml(), run_id=run_id, command=spec.command(), labels=labels, after=after, token=token,
        status={"fingerprint": spec.fingerprint()} | dict(status),
    )  # fmt: skip
