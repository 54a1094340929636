"""Starting, stopping and changing a study: the actions of the page and the shell."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from optuna.storages import BaseStorage
from optuna.study import Study

from kdengine.errors import BadInput, Problem
from kdengine.jobs import Job, JobLabels, JobStore
from kdengine.jobs.job import STUDY_PREFIX
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import pinned_mapping
from kdengine.workspace import Workspace
from studies import samplers, storage, trials
from studies.plan import Budget, StudyPlan
from studies.space import STUDENT, Value
from studies.trials import BY_HAND, DEFAULT, EARLIER, ORIGIN

log = logging.getLogger(__name__)

MAX_NOTE = 300


def begin(plan: StudyPlan, workspace: Workspace) -> Job:
    """Checks the experiment, makes the study with its starting points, and queues its controller.

    The same plan again changes nothing but the budget, and takes a study that has ended up again.

    Returns:
        The controller's job; it takes no slot.

    Raises:
        BadInput: every problem at once; nothing was made.
        KdError: the database of the studies cannot be used.
    """
    from kdengine import assembly  # brings torch, which a page that only reads does without

    samplers.sampler(plan)
    plan = plan.model_copy(update={"experiment": pinned_mapping(plan.experiment, workspace)})
    for student in _students(plan):
        assembly.preflight(plan.spec(trials.starting_values(plan) | student, plan.seeds[0]), workspace)
    with storage.reachable(workspace):
        connected = storage.opened(workspace)
        study = storage.create(connected, plan)
        storage.set_budget(study, plan.budget)
        if not study.get_trials(deepcopy=False):
            _enqueue_starting_points(study, plan, connected, workspace)
    return _set_going(plan, workspace, study)


def resume(name: str, workspace: Workspace, budget: Budget | None = None) -> Job:
    """Takes a study up again, also one that another workspace made on the same server; with a budget, extends it.

    Raises:
        BadInput: there is no such study, it is at work, or its budget is used up.
    """
    with storage.reachable(workspace):
        study = storage.open_study(storage.opened(workspace), name)
        plan = storage.plan_of(study)
        if budget is not None:
            extend(study, budget)
            plan = storage.plan_of(study)
        now = trials.view(study, workspace)
        most = plan.budget.trials
        if most is not None and now.counted >= most and not now.count("running", "waiting"):
            message = f"all {most} trials are done; extend it: kd study resume {name} --trials {most + 10}"
            raise BadInput(Problem("budget.trials", message))
        return _set_going(plan, workspace, study)


def extend(study: Study, budget: Budget) -> None:
    """Sets another budget; raises BadInput for fewer trials than are done."""
    done = sum(trial.state in trials.COUNTED for trial in study.get_trials(deepcopy=False))
    if budget.trials is not None and budget.trials < done:
        raise BadInput(Problem("budget.trials", f"found {budget.trials}, but {done} trials are done already"))
    storage.set_budget(study, budget)


def stop_after_current(name: str, workspace: Workspace) -> None:
    """Lets the trials under way end and begins no other; `resume` takes the study up again."""
    with storage.reachable(workspace):
        storage.set_ending(storage.open_study(storage.opened(workspace), name), True)


def stop_now(name: str, workspace: Workspace) -> Job:
    """Stops all its runs with a checkpoint; `resume` continues each where it was.

    Raises:
        BadInput: it is not at work.
    """
    return JobStore(workspace).request_stop(_job_id(name, workspace))


def enqueue(name: str, values: Mapping[str, Value], workspace: Workspace) -> None:
    """Puts a hand-made trial before those that the sampler chooses; what is not named the sampler draws.

    Raises:
        BadInput: every value that the space does not hold.
    """
    with storage.reachable(workspace):
        study = storage.open_study(storage.opened(workspace), name)
        plan = storage.plan_of(study)
        known = {dimension.field: dimension for dimension in plan.searched}
        problems = [
            Problem(path, f"is not searched; searched are {', '.join(known)}")
            if path not in known
            else Problem(path, f"found {value}, expected {_allowed(plan, path, known[path].text())}")
            for path, value in values.items()
            if path not in known or not plan.holds(path, value)
        ]
        if problems or not values:
            raise BadInput(problems or Problem("values", "found none; name at least one, e.g. method.temperature=2"))
        study.enqueue_trial(dict(values), user_attrs={ORIGIN: BY_HAND})


def annotate(name: str, number: int, note: str, workspace: Workspace) -> None:
    """Notes a sentence at a trial; "" takes it away.

    Raises:
        BadInput: there is no such trial, or the note is longer than `MAX_NOTE` characters.
    """
    with storage.reachable(workspace):
        study = storage.open_study(storage.opened(workspace), name)
        known = {row.number for row in trials.view(study, workspace).trials}
        problems = [Problem("trial", f"there is no trial {number} in {name!r}")] if number not in known else []
        if len(note) > MAX_NOTE:
            problems.append(Problem("note", f"found {len(note)} characters, expected at most {MAX_NOTE}"))
        if problems:
            raise BadInput(problems)
        storage.set_note(study, number, " ".join(note.split()))


def delete(name: str, workspace: Workspace) -> None:
    """Removes a study, its controller and the runs of its trials, here and in MLflow's list.

    Raises:
        BadInput: it is at work, or another run learns from one of its runs; then nothing was removed.
    """
    from kdengine import tracking

    store = JobStore(workspace)
    with storage.reachable(workspace):
        connected = storage.opened(workspace)
        study = storage.open_study(connected, name)
        plan = storage.plan_of(study)
        controller = store.find(plan.job_id)
        if controller is not None and not controller.state.ended:
            raise BadInput(Problem("study", f"{name!r} is running; stop it first: kd study stop {name}"))
        runs = [run for row in trials.view(study, workspace).trials for run in row.runs]
        for run_id in (*runs, plan.job_id):
            if store.find(run_id) is not None:
                tracking.delete_run(store, run_id)
        connected.delete_study(study._study_id)


def views(workspace: Workspace) -> list[trials.StudyView]:
    """All studies of the storage that were made by this program, the newest first; the log names a damaged one."""
    found = []
    with storage.reachable(workspace):
        connected = storage.opened(workspace)
        for name in storage.names(connected):
            try:
                found.append(trials.view(storage.open_study(connected, name), workspace))
            except BadInput as error:
                log.warning("%s", error)
    return found


def view(name: str, workspace: Workspace) -> trials.StudyView:
    """One study as it stands; raises BadInput when there is none of that name."""
    with storage.reachable(workspace):
        return trials.view(storage.open_study(storage.opened(workspace), name), workspace)


def state_of(plan: StudyPlan, workspace: Workspace) -> str:
    """Of the controller's job here: "running", "finished", ...; "elsewhere" where this workspace has none."""
    job = JobStore(workspace).find(plan.job_id)
    return str(job.state) if job is not None else "elsewhere"


def _students(plan: StudyPlan) -> Iterable[dict[str, Value]]:
    choices = next((each.choices for each in plan.searched if each.field == STUDENT), ())
    return [{STUDENT: choice} for choice in choices] or [{}]


def _enqueue_starting_points(study: Study, plan: StudyPlan, connected: BaseStorage, workspace: Workspace) -> None:
    """The documented defaults, and the best of earlier studies on the same pair."""
    start = trials.starting_values(plan)
    study.enqueue_trial(start, user_attrs={ORIGIN: DEFAULT})
    for name in storage.names(connected) if plan.earlier else ():
        earlier = storage.open_study(connected, name)
        if name == plan.name or earlier.user_attrs.get(storage.PAIR) != plan.pair:
            continue
        best = trials.view(earlier, workspace).best
        values = trials.params_of(best.params, plan) if best is not None else {}
        if values and values != start:
            study.enqueue_trial(values, user_attrs={ORIGIN: EARLIER}, skip_if_exists=True)


def _set_going(plan: StudyPlan, workspace: Workspace, study: Study) -> Job:
    store = JobStore(workspace)
    job = store.find(plan.job_id)
    storage.set_ending(study, False)
    if job is None:
        spec = ExperimentSpec.from_mapping(plan.experiment)
        labels = JobLabels(
            name=f"study {plan.name}", kind="study", dataset=spec.data.name, method=spec.method.name,
            student=spec.student.name, teacher=spec.teacher_label(),
        )  # fmt: skip
        command = f"kd study resume {plan.name}"
        return store.submit(
            plan.to_yaml(), run_id=plan.job_id, command=command, labels=labels, status={"kind": "study"}
        )
    if not job.state.ended:
        return job
    return store.resume(job.id)


def _allowed(plan: StudyPlan, path: str, text: str) -> str:
    return f"a point of the grid: {', '.join(map(str, plan.points[path]))}" if plan.points else text


def _job_id(name: str, workspace: Workspace) -> str:
    job_id = f"{STUDY_PREFIX}{name}"
    if JobStore(workspace).find(job_id) is None:
        raise BadInput(Problem("study", f"{name!r} has no controller in this workspace"))
    return job_id
