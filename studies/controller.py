"""The controller of a study: asks Optuna for values, runs them as jobs, reports, prunes, tells Optuna. Holds no state.

What is true lies in three places: the trial in Optuna's storage, the job in the queue, the run in its folder. Each turn
looks at all three and takes the next step, and each step may be the last before a crash:

- A trial's runs have names made of its number, so that no step that is repeated starts one twice.
- A trial whose run died is enqueued again (``retry_of``) before it is told to have failed; a trial that has such a
  successor is only told. The successor resumes the same runs.
- With several controllers on one storage, each follows the trials it owns, and a trial that finds the budget used up by
  those before it is given back.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from kdengine.assembly import launch
from kdengine.errors import BadInput, KdError
from kdengine.jobs import Job, JobStore, Placement, dead_end, waits_in_vain
from kdengine.jobs.settings import jobs_per_gpu
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State
from studies import samplers, space, storage, trials
from studies.active_time import ActiveTime
from studies.costs import cost_of
from studies.plan import COSTS
from studies.samplers import EXHAUSTED
from studies.space import Value
from studies.stored_trials import StoredTrials
from studies.trials import BEGUN, COST, COUNTED, EPOCHS, OWNER, PRUNED_AT, RETRY_OF, ROOT, SECONDS, SURPLUS, WHY

log = logging.getLogger(__name__)

STOP_WAIT_S = 20.0
MAX_RETRIES = 3
FAILURES_IN_A_ROW = 5
YOUNG_S = 60.0
# A run that died of these is tried again; where a process that reads images for it was killed, memory is suspected.
DEATHS = ("killed", "lost", "oom_host")
# In the status of a run that the study stopped: it is taken up again with the study. A person's stop is respected.
STOPPED_BY_STUDY = "stopped_by_study"


def _utc(moment: datetime) -> float:
    """Seconds since the epoch of a time that Optuna's storage gives: UTC, without saying so."""
    return moment.replace(tzinfo=UTC).timestamp()


class Controller:
    """One attempt at steering a study.

    Args:
        study: opened in its storage.
        workspace: where its runs are queued.
        folder: of the study's job.
        placement: which slots there are.
    """

    def __init__(
        self, study: Study, workspace: Workspace, folder: RunDirectory, placement: Placement | None = None
    ) -> None:
        self.workspace = workspace
        self.folder = folder
        self.store = JobStore(workspace)
        self.placement = placement or Placement(per_gpu=partial(jobs_per_gpu, workspace))
        self.plan = storage.plan_of(study)
        self.study = study
        self.study.pruner = samplers.pruner(self.plan)
        self.shared = not storage.address(workspace).startswith("sqlite")
        self.owner = f"{socket.gethostname()}:{workspace.root}"
        self.ending = False
        self.time = ActiveTime(folder)
        self._said: dict[str, Any] = {}
        self.trials = StoredTrials(study)

    # one turn --------------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Follows what is under way and begins what may begin. True when the study is done.

        Raises:
            KdError: trial after trial fails.
        """
        self.trials.forget()
        self.plan = storage.plan_of(self.study)
        self.ending = bool(self.study.user_attrs.get(storage.ENDING))
        self.time.count()
        retried = self._retried()
        for trial in self._mine():
            self._follow(trial, retried)
        self._check_failures()
        self._check_waiting()
        while self._may_begin():
            self._ask()
        self._tell_progress()
        return not self._mine() and (self.ending or self._budget_used())

    def stop(self) -> None:
        """Stops every run with a checkpoint; its trial is taken up again when the study is resumed."""
        self.folder.update_status(phase="stopping")
        self.trials.forget()
        for trial in self._mine():
            for run in self._runs(trial):
                job = self.store.find(run.id)
                if job is not None and not job.state.ended:
                    run.update_status(**{STOPPED_BY_STUDY: True})
                    self._request(self.store.request_stop, job)
        deadline = time.monotonic() + STOP_WAIT_S
        while time.monotonic() < deadline and any(not job.state.ended for job in self._jobs_under_way()):
            time.sleep(0.2)
        retried = self._retried()
        for trial in self._mine():
            if self._complete(trial):
                self._follow(trial, retried)
            else:
                self._give_up(trial, "stopped with the study", again=True)

    # trials under way ------------------------------------------------------------------------------------------------

    def _mine(self) -> list[FrozenTrial]:
        """Trials that are running and belong to this controller; also one that a crash left without an owner."""
        running = [trial for trial in self.trials.all() if trial.state is TrialState.RUNNING]
        if not self.shared:
            return running
        return [trial for trial in running if trial.user_attrs.get(OWNER) == self.owner or self._orphaned(trial)]

    def _orphaned(self, trial: FrozenTrial) -> bool:
        """Whether its controller died between asking for it and taking it."""
        if OWNER in trial.user_attrs or trial.datetime_start is None:
            return False
        return time.time() - _utc(trial.datetime_start) > YOUNG_S

    def _retried(self) -> set[int]:
        """Numbers of the trials that have a successor."""
        return {trial.user_attrs[RETRY_OF] for trial in self.trials.all() if RETRY_OF in trial.user_attrs}

    def _follow(self, trial: FrozenTrial, retried: set[int]) -> None:
        if trial.number in retried:
            self._tell(trial, TrialState.FAIL)
            return
        if not trial.user_attrs.get(BEGUN) and not self._begin(trial):
            return
        runs = self._runs(trial)
        jobs = [self.store.find(run.id) for run in runs]
        if any(job is None for job in jobs):
            self._give_up(trial, "its run was deleted", again=False)
            return
        known = [job for job in jobs if job is not None]
        self._report(trial, runs, known)
        bad = [job for job in known if job.state.ended and job.state not in (State.FINISHED, State.PRUNED)]
        if bad:
            self._fail(trial, bad[0])
        elif all(job.state.ended for job in known):
            pruned = any(job.state is State.PRUNED for job in known)
            self._finish(trial, runs, TrialState.PRUNED if pruned else TrialState.COMPLETE)

    def _report(self, trial: FrozenTrial, runs: Sequence[RunDirectory], jobs: Sequence[Job]) -> None:
        """Hands new epochs to Optuna and asks it whether to go on."""
        if len(self.plan.metrics) > 1:
            return
        done = max(trial.intermediate_values, default=0)
        new = {epoch: value for epoch, value in trials.curve_of(runs, self.plan.metrics[0]).items() if epoch > done}
        pruned = trial.user_attrs.get(PRUNED_AT)
        if new:
            live = self.trials.live(trial)
            for epoch, value in new.items():
                live.report(value, epoch)
            last = max(new) == int(self.plan.experiment["recipe"]["epochs"])
            if pruned is None and not last and live.should_prune():
                pruned = max(new)
                live.set_user_attr(PRUNED_AT, pruned)
        if pruned is not None:
            for job in jobs:
                if not job.state.ended and job.request is None:
                    self._request(self.store.request_prune, job)

    def _finish(self, trial: FrozenTrial, runs: Sequence[RunDirectory], state: TrialState) -> None:
        values = None
        if state is TrialState.COMPLETE:
            values = trials.values_of(runs, self.plan, trial.user_attrs.get(COST, {}))
        self._tell(trial, state, values)

    def _fail(self, trial: FrozenTrial, job: Job) -> None:
        by_study = bool(self.workspace.run(job.id).status().get(STOPPED_BY_STUDY))
        died = job.reason in DEATHS
        again = (job.state is State.STOPPED and by_study) or (died and self._earlier_tries(trial) < MAX_RETRIES)
        self._give_up(trial, job.message or str(job.state), again=again)

    def _earlier_tries(self, trial: FrozenTrial) -> int:
        """How often this trial was begun before."""
        root = trials.root_of(trial)
        tries = [each.number for each in self.trials.all() if trials.root_of(each) == root]
        return sum(number != trial.number for number in tries)

    def _give_up(self, trial: FrozenTrial, why: str, *, again: bool) -> None:
        """Tells Optuna that a trial failed; before that, where it is to be tried again, enqueues its successor."""
        if again:
            kept = {key: trial.user_attrs[key] for key in (trials.ORIGIN, COST) if key in trial.user_attrs}
            kept |= {ROOT: trials.root_of(trial), RETRY_OF: trial.number}
            self.trials.enqueue(trial.params, kept)
        log.warning("trial %d: %s%s", trial.number, why, "; it is tried again" if again else "")
        self._note(trial, {WHY: why})
        self._tell(trial, TrialState.FAIL)

    def _tell(self, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None = None) -> None:
        if state is not TrialState.FAIL:
            progress = [trials.run_progress(run) for run in self._runs(trial)]
            spent = {EPOCHS: sum(done for done, _ in progress), SECONDS: round(sum(each for _, each in progress), 1)}
            self._note(trial, spent)
        self.trials.tell(trial.number, values, state, again=True)

    def _complete(self, trial: FrozenTrial) -> bool:
        jobs = [self.store.find(run.id) for run in self._runs(trial)]
        return all(job is not None and job.state in (State.FINISHED, State.PRUNED) for job in jobs)

    # new trials ------------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        trial = self.trials.ask()
        trial.set_user_attr(OWNER, self.owner)
        frozen = self._frozen(trial.number)
        if self.shared and self._is_surplus(frozen):
            self._note(frozen, {SURPLUS: True})
            self.trials.tell(trial.number, None, TrialState.FAIL)
            return
        self._begin(frozen)

    def _is_surplus(self, trial: FrozenTrial) -> bool:
        most = self.plan.budget.trials
        before = [other for other in self.trials.all() if other.state in (*COUNTED, TrialState.RUNNING)]
        return most is not None and sum(other.number < trial.number for other in before) >= most

    def _begin(self, trial: FrozenTrial) -> bool:
        """Queues or resumes the runs of a trial; each step may be repeated. False when it is not to be trained."""
        self.study.sampler = samplers.sampler(self.plan, trial.number)
        live = self.trials.live(trial)
        if OWNER not in trial.user_attrs:
            live.set_user_attr(OWNER, self.owner)
        if ROOT not in trial.user_attrs:
            live.set_user_attr(ROOT, trial.number)
        values = space.suggest(live, self.plan.searched, self.plan.experiment, self.plan.points)
        root = trials.root_of(trial)
        try:
            if not self._affordable(live, values):
                return False
            for seed in self.plan.seeds:
                self._queue(root, seed, values)
        except BadInput as error:  # values that cannot be together, or a teacher that is gone
            self._give_up(self._frozen(trial.number), str(error), again=False)
            return False
        self._note(trial, {BEGUN: True})
        return True

    def _affordable(self, live: Trial, values: dict[str, Value]) -> bool:
        """Measures what the student costs, where that counts; a trial beyond the limits ends as pruned, untrained."""
        if not self.plan.limits and not set(self.plan.metrics) & set(COSTS):
            return True
        cost = cost_of(self.plan.spec(values, self.plan.seeds[0]), self.workspace, self.folder.path)
        live.set_user_attr(COST, cost)
        beyond = []
        for name, limit in self.plan.limits.items():
            live.set_constraint(name, cost[name] - limit)
            if cost[name] > limit:
                beyond.append(f"{name} {cost[name]:g} is above {limit:g}")
        if not beyond:
            return True
        self._note(self._frozen(live.number), {WHY: "; ".join(beyond), EPOCHS: 0, SECONDS: 0.0})
        # Pruned wants a value to be comparable; several goals know no pruning.
        state = TrialState.PRUNED if len(self.plan.metrics) == 1 else TrialState.FAIL
        self.trials.tell(live.number, None, state)
        return False

    def _queue(self, root: int, seed: int, values: dict[str, Value]) -> None:
        run = self.workspace.run(self.plan.run_id(root, seed))
        job = self.store.find(run.id)
        if job is None and run.exists:  # made by a queue that died before it had written its row
            job = self.store.adopt(run, now=time.time() + 2 * YOUNG_S)
        if job is None:
            title = f"{self.plan.name}: trial {root}" + (f", seed {seed}" if len(self.plan.seeds) > 1 else "")
            spec = self.plan.spec(values, seed, title)
            launch.submit(spec, self.workspace, run_id=run.id, status={"study": self.folder.id, "trial": root})
        elif job.state.ended and job.state.resumable:
            run.update_status(**{STOPPED_BY_STUDY: False})
            self.store.resume(job.id)

    def _may_begin(self) -> bool:
        if self.ending or self._budget_used():
            return False
        under_way = sum(not job.state.ended for job in self._jobs_under_way())
        return under_way < (self.plan.parallel or self.placement.capacity())

    def _budget_used(self) -> bool:
        """Whether no trial may begin any more."""
        budget, attributes = self.plan.budget, self.study.user_attrs
        everything = self.trials.all()
        used = sum(trial.state in (*COUNTED, TrialState.RUNNING) for trial in everything)
        waiting = any(trial.state is TrialState.WAITING for trial in everything)
        if budget.trials is not None and used >= budget.trials:
            return True
        if attributes.get(EXHAUSTED) and not waiting:
            return True
        if budget.epochs is not None and self._epochs(everything) >= budget.epochs:
            return True
        if budget.hours is not None and self.time.hours >= budget.hours:
            return True
        return budget.job_hours is not None and self._job_hours(everything) >= budget.job_hours

    def _epochs(self, everything: Sequence[FrozenTrial]) -> int:
        """Epochs trained by the counted trials, and those that trials under way will train at most."""
        whole = int(self.plan.experiment["recipe"]["epochs"]) * len(self.plan.seeds)
        trained = sum(int(trial.user_attrs.get(EPOCHS, 0)) for trial in everything if trial.state in COUNTED)
        return trained + whole * sum(trial.state is TrialState.RUNNING for trial in everything)

    def _job_hours(self, everything: Sequence[FrozenTrial]) -> float:
        known = sum(trial.user_attrs.get(SECONDS, 0.0) for trial in everything)
        running = [run for trial in everything if trial.state is TrialState.RUNNING for run in self._runs(trial)]
        found: float = (known + sum(trials.seconds_of(run) for run in running)) / 3600
        return found

    # small things ----------------------------------------------------------------------------------------------------

    def _check_failures(self) -> None:
        ended = [
            trial for trial in self.trials.all() if trial.state.is_finished() and not trial.user_attrs.get(SURPLUS)
        ]
        retried = self._retried()
        last = [trial for trial in ended if trial.number not in retried][-FAILURES_IN_A_ROW:]
        if len(last) == FAILURES_IN_A_ROW and all(trial.state is TrialState.FAIL for trial in last):
            why = last[-1].user_attrs.get(WHY, "")
            raise KdError(
                f"the last {FAILURES_IN_A_ROW} trials failed, the last one with: {why}. Fix the cause or narrow the "
                "space, then extend or resume the study"
            )

    def _check_waiting(self) -> None:
        """Ends the study, in words, when all under way waits for a job that failed; its trials go on waiting."""
        awaited = self._waits_in_vain()
        if awaited is not None and awaited.state is not State.STOPPED:
            raise KdError(f"each of its runs {waits_in_vain(awaited)}; then resume the study")

    def _waits_in_vain(self) -> Job | None:
        """The job that all runs under way wait for though it has ended without finishing; None while one can go on."""
        under_way = [job for job in self._jobs_under_way() if not job.state.ended]
        jobs = {job.id: job for job in self.store.jobs()} if any(job.after for job in under_way) else {}
        found = [dead_end(job, jobs) for job in under_way]
        return found[0] if found and all(found) else None

    def _tell_progress(self) -> None:
        """Writes how the study stands, when that has changed."""
        now = trials.view(self.study, self.workspace, self.trials.all())
        best = now.best
        awaited = self._waits_in_vain()
        phase = f"{now.counted} of {self.plan.budget.trials or '?'} trials"
        said = {
            "phase": phase if awaited is None else f"{phase}, {waits_in_vain(awaited)}",
            "trials": {state: now.count(state) for state in ("complete", "pruned", "running", "waiting", "fail")},
            "best_trial": {"number": best.number, "value": best.values[0]} if best is not None else None,
        }
        if said != self._said:
            self.folder.update_status(**said)
            self._said = said

    def _jobs_under_way(self) -> list[Job]:
        found = [self.store.find(run.id) for trial in self._mine() for run in self._runs(trial)]
        return [job for job in found if job is not None]

    def _runs(self, trial: FrozenTrial) -> list[RunDirectory]:
        return [self.workspace.run(self.plan.run_id(trials.root_of(trial), seed)) for seed in self.plan.seeds]

    def _frozen(self, number: int) -> FrozenTrial:
        return self.trials.all()[number]

    def _note(self, trial: FrozenTrial, attributes: dict[str, Any]) -> None:
        live = self.trials.live(trial)
        for key, value in attributes.items():
            live.set_user_attr(key, value)

    @staticmethod
    def _request(action: Any, job: Job) -> None:
        try:
            action(job.id)
        except BadInput:
            log.info("%s had ended before the request", job.id)
