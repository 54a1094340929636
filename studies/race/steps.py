"""Beginning, steering, resuming and stopping a race.

`advance` keeps no state: it looks how the race stands, takes the next step, and may be called at any time, by any
process, as often as one likes. Killed between two of its lines, it is called again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdengine.comparison import queueing
from kdengine.comparison.plan import ALONE, SEARCH_SEED, Plan, with_tuned
from kdengine.comparison.progress import Progress
from kdengine.comparison.searches import searches
from kdengine.comparison.stored_plans import plan_file
from kdengine.errors import BadInput, KdError, Problem
from kdengine.forecast.whole import STARTUP_S
from kdengine.jobs import Job, JobLabels, JobStore
from kdengine.jobs.placement import slots
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import pinned_mapping
from kdengine.units import duration
from kdengine.workspace import Workspace, files
from studies import tuned
from studies.controller import DEATHS, MAX_RETRIES
from studies.race import course
from studies.race.plan import RacePlan, read_race
from studies.race.standing import TUNING, Standing, dropped, stage_file, standing, tuned_arms
from studies.trials import seconds_of

RACE = "race"
"""In a run's status: the race that it was queued for, by name."""


def begin(race: RacePlan, workspace: Workspace) -> Job:
    """Checks every method and the hours, and queues the job that steers the race.

    Returns:
        That job; it takes no slot. The same race again changes nothing, and takes one that has ended up again.

    Raises:
        BadInput: every problem at once; nothing was made.
    """
    race = race.model_copy(update={"experiment": pinned_mapping(race.experiment, workspace)})
    store = JobStore(workspace)
    known = store.find(race.job_id)
    if known is not None:
        _check_same(race, workspace)
        return known if not known.state.ended else resume(race, workspace)
    if plan_file(workspace, race.name).is_file():
        raise BadInput(Problem("name", f"there is a comparison {race.name!r} already; give this race another name"))
    _check_methods(race, workspace)
    needed = course.least_seconds(race.rates, ALONE, race.epochs, race.seeds) / slots(workspace) if race.rates else 0
    if needed > 3600 * race.hours:
        message = f"found {race.hours:g}, expected at least {needed / 3600:.2g}: all methods once, the best three again"
        message += f" with {min(course.MIN_SEEDS, race.seeds)} seeds, take about {duration(needed)} here"
        raise BadInput(Problem("hours", f"{message}; give more hours, fewer epochs or fewer methods"))
    spec = ExperimentSpec.from_mapping(race.experiment)
    labels = JobLabels(
        name=f"race {race.name}", kind="race", dataset=spec.data.name, method="", student=spec.student.name,
        teacher=spec.teacher_label(),
    )  # fmt: skip
    command = f"kd race {race.name} --resume"
    return store.submit(race.to_yaml(), run_id=race.job_id, command=command, labels=labels, status={"kind": "race"})


def advance(race: RacePlan, workspace: Workspace) -> Standing:
    """Takes the next step of the race, if there is one.

    Raises:
        KdError: it cannot go on: the student alone has failed, or no method is left.
    """
    now = standing(race, workspace)
    stage = now.final or (now.heats[-1].now if now.heats and now.tuning is None else None)
    if stage is not None and _try_again(stage, workspace):
        return standing(race, workspace)
    if now.heats and now.heats[-1].over:
        _check_left(now.heats[-1].staying, now.heats[-1].dropped)
    if now.final is not None:
        queueing.queue_missing(now.final.plan, workspace, again=False)
    elif now.tuning is not None:
        _tune(now, workspace)
    elif now.heats_over:
        _keep(_searched(now, workspace), TUNING, race, workspace)
    elif now.heats and not now.heats[-1].over:
        queueing.queue_missing(now.heats[-1].now.plan, workspace, again=False, status={RACE: race.name})
    else:
        number = len(now.heats)
        _keep(race.heat(number, now.survivors), f"heat-{number + 1}", race, workspace)
    return standing(race, workspace)


def resume(race: RacePlan, workspace: Workspace) -> Job:
    """Takes a race up again that was stopped, lost or has failed; raises BadInput while it is at work."""
    return JobStore(workspace).resume(race.job_id)


def take_up(race: RacePlan, workspace: Workspace) -> None:
    """What was stopped, lost or has failed in the stage that it stands at goes on; called when its process starts."""
    now = standing(race, workspace)
    if now.final is not None:
        queueing.queue_missing(now.final.plan, workspace)
    elif now.tuning is not None:
        tuned.resume_searches(_take_over(now, workspace), workspace)
    elif now.heats:
        queueing.queue_missing(now.heats[-1].now.plan, workspace, status={RACE: race.name})


def stop(race: RacePlan, workspace: Workspace) -> int:
    """Stops all its runs and searches with a checkpoint, those under way and those that wait; how many."""
    now = standing(race, workspace)
    if now.final is not None:
        return queueing.stop(now.final.plan, workspace)
    if now.tuning is not None:
        return tuned.stop(now.tuning, workspace)
    return queueing.stop(now.heats[-1].now.plan, workspace) if now.heats else 0


def _try_again(stage: Progress, workspace: Workspace) -> int:
    """Resumes runs whose process died, as a study does for its trials: that is no fault of their methods; how many."""
    store, count = JobStore(workspace), 0
    for cell in stage.cells:
        job = store.find(cell.run.id) if cell.run is not None and not cell.finished else None
        if job is None or job.reason not in DEATHS or not job.state.resumable or job.attempt > MAX_RETRIES:
            continue
        store.resume(job.id)
        count += 1
    return count


def _keep(plan: Plan, stage: str, race: RacePlan, workspace: Workspace) -> None:
    files.write_json(stage_file(workspace.run(race.job_id).path, stage), plan.model_dump(mode="json"))


def _searched(now: Standing, workspace: Workspace) -> Plan:
    """The plan of the searches: what is left of the hours, divided among the survivors and the student alone."""
    race = now.race
    left = 3600 * race.hours * slots(workspace) - _spent(now)
    division = course.split(left, _rates(now), ALONE, race.epochs, race.seeds)
    return race.searched(now.survivors, division)


def _rates(now: Standing) -> dict[str, float]:
    """Seconds of an epoch of each survivor and of the student alone: as the last heat took, else as forecast."""
    runs = {cell.cell.arm: cell for cell in now.heats[-1].now.cells if cell.finished} if now.heats else {}
    found = {}
    for name in (ALONE, *now.survivors):
        cell = runs.get(name)
        if cell is not None and cell.run is not None:
            found[name] = (STARTUP_S + seconds_of(cell.run)) / cell.cell.spec.recipe.epochs
        else:
            found[name] = now.race.rates.get(name) or 1.0
    return found


def _spent(now: Standing) -> float:
    """Seconds that the runs of the heats were at work."""
    runs = [cell.run for heat in now.heats for cell in heat.now.cells if cell.run is not None]
    return sum(STARTUP_S + seconds_of(run) for run in runs)


def _tune(now: Standing, workspace: Workspace) -> None:
    """Takes over what searches have found and begins those that may; the final, when all have ended."""
    plan = _take_over(now, workspace)
    found = searches(plan, workspace)
    if any(each.under_way for each in found):
        tuned.begin_searches(plan, workspace)
        return
    lost = dropped(plan, found)
    _check_left([name for name in now.survivors if name not in lost], lost)
    queueing.begin(now.race.final(tuned_arms(plan, now.survivors), len(plan.seeds)), workspace)


def _take_over(now: Standing, workspace: Workspace) -> Plan:
    """The plan of the searches with what those that have ended have found."""
    assert now.tuning is not None
    plan = now.tuning
    for arm in plan.asked if plan.tuning is not None else ():
        if plan.tuned(arm.name) is None:
            found = tuned.found_by_search(plan, arm, workspace)
            plan = plan if found is None else with_tuned(plan, found)
    if plan is not now.tuning:
        _keep(plan, TUNING, now.race, workspace)
    return plan


def _check_left(staying: Sequence[str], lost: Mapping[str, str]) -> None:
    if ALONE in lost:
        raise KdError(f"the student alone, which all are measured against, has not finished: {lost[ALONE]}")
    if not staying:
        raise KdError(f"no method is left: {'; '.join(f'{name}: {why}' for name, why in lost.items())}")


def _check_same(race: RacePlan, workspace: Workspace) -> None:
    known = read_race(workspace.run(race.job_id).path)
    given, kept = (each.model_dump(exclude={"rates"}) for each in (race, known))
    differing = [name for name in given if given[name] != kept[name]]
    if differing:
        message = f"there is a race {race.name!r} already, with other {', '.join(differing)}; name this one differently"
        raise BadInput(Problem("name", message))


def _check_methods(race: RacePlan, workspace: Workspace) -> None:
    """Every method as it is in the first heat, and the space of its search."""
    from kdengine import assembly  # brings torch

    plan = race.searched(race.methods, course.Split(race.seeds, course.MIN_TRIALS * race.epochs))
    problems = []
    for arm in plan.arms:
        try:
            assembly.preflight(plan.spec(arm, SEARCH_SEED), workspace)
            tuned.study_plan(plan, arm)
        except BadInput as error:
            problems += [Problem(f"method {arm.name!r}, {each.field}", each.message) for each in error.problems]
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))
