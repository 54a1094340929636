"""Which queued job starts next, and where."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from kdengine.errors import KdError
from kdengine.jobs.endings import Endings
from kdengine.jobs.executor import Executor, StartOrder, host_oom_kills
from kdengine.jobs.failures import ADVICE, Failure, classify_exception
from kdengine.jobs.job import ACTIVE, Job
from kdengine.jobs.of_runs import identity_values, works_now
from kdengine.jobs.placement import Placement, Slot
from kdengine.jobs.sight import waits_in_vain
from kdengine.jobs.store import JobStore
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import home_identity
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

log = logging.getLogger(__name__)

START_MARK = "=== started "

CommandFor = Callable[[Job], list[str]]


def default_command(job: Job) -> list[str]:
    """``python -m kdengine execute <run id>`` for a run; ``... study control <id>`` for the controller of a study."""
    words = [job.kind, "control", job.id] if job.is_controller else ["execute", job.id]
    return [sys.executable, "-m", "kdengine", *words]


class Starts:
    """Starts queued jobs in their order, each on a slot that suits it.

    Args:
        workspace: whose runs.
        store: its queue.
        executor: starts processes.
        placement: which slots there are.
        command_for: the argv of a job's trainer.
        endings: for the jobs that cannot start.
    """

    def __init__(
        self,
        workspace: Workspace,
        store: JobStore,
        executor: Executor,
        placement: Placement,
        command_for: CommandFor,
        endings: Endings,
    ) -> None:
        self.workspace = workspace
        self.store = store
        self.executor = executor
        self.placement = placement
        self.command_for = command_for
        self.endings = endings
        self._oom_kills: dict[str, int | None] = {}
        self._devices: dict[tuple[str, float], str] = {}  # that specs name; an id may be used again

    def schedule(self) -> None:
        """Starts what can start, in the order of the queue; what waits for a slot says why."""
        queue = self.store.jobs({State.QUEUED})
        active = self.store.jobs(ACTIVE) if queue else []
        said = False
        for job in queue:
            if not self._may_start(job):
                continue
            slot = self.placement.find(job, active, self._device_wanted(job))
            if isinstance(slot, Slot):
                started = self._start(job, slot)
                active += [started] if started else []
            elif not said or _waited_for_another(job):
                # The first says it for all behind it, but none goes on saying what is no longer so.
                self._say_why_waiting(job, slot)
                said = True

    def killed_for_memory_since(self, job: Job) -> bool:
        """Whether the kernel has killed anything for memory since the job started here."""
        before, now = self._oom_kills.get(job.id), host_oom_kills()
        return before is not None and now is not None and now > before

    def _device_wanted(self, job: Job) -> str:
        """What the job's spec names as its device. A spec never changes, and a queue is looked at twice a second."""
        key = (job.id, job.submitted)
        if key not in self._devices:
            runtime = self.workspace.run(job.id).spec_or_nothing().get("runtime")
            named = runtime.get("device") if isinstance(runtime, dict) else None
            self._devices[key] = named if isinstance(named, str) else "auto"
        return self._devices[key]

    def _may_start(self, job: Job) -> bool:
        """Whether nothing but a slot is missing.

        A job waits also for one that was stopped or has failed: resumed, that may still finish. Only when that was
        deleted or pruned, the job itself fails.
        """
        if job.after is None:
            return True
        awaited = self.store.find(job.after)
        if awaited is not None and awaited.state is State.FINISHED:
            return True
        if awaited is None or awaited.state is State.PRUNED:
            end = "was deleted" if awaited is None else f"is {awaited.state}"
            message = f"the job it waits for ({job.after}) {end} and did not finish"
            self.endings.end(job, Failure("dependency", message, ADVICE["dependency"]))
        elif awaited.state.ended:
            self._say_why_waiting(job, waits_in_vain(awaited))
        else:
            self._say_why_waiting(job, f"waits for {job.after} ({awaited.state})")
        return False

    def _say_why_waiting(self, job: Job, message: str) -> None:
        if job.message != message:
            self.store.change(job.id, {State.QUEUED}, message=message)

    def _start(self, job: Job, slot: Slot) -> Job | None:
        run = self.workspace.run(job.id)
        if works_now(run):
            return None  # a shell was faster; the next scan follows it
        token = secrets.token_hex(8)
        place = {"workspace": home_identity(self.workspace.root), "started": time.time()}
        fresh = {"start_token": token, "slot": slot.name, "device": slot.cuda_visible_devices} | place
        claimed = self.store.change(
            job.id, {State.QUEUED}, state=State.STARTING, attempt=job.attempt + 1, message=None, pid=None, **fresh
        )
        if claimed is None:
            return None
        try:
            identity = self._launch(claimed, run, token, slot)
        except Exception as error:
            log.exception("%s could not be started", job.id)
            self.endings.end(claimed, classify_exception(error))
            return None
        return self.store.change(job.id, ACTIVE, **identity_values(identity)) or claimed

    def _launch(self, job: Job, run: RunDirectory, token: str, slot: Slot) -> dict[str, Any]:
        if not run.exists:
            raise KdError(f"the folder {run.path} is gone; delete the job and launch it anew")
        # start_token marks the status as this attempt's: an outcome of an earlier one is never taken for it.
        words = dict.fromkeys(("process", "reason", "message", "advice", "remedies"))
        run.update_status(state=State.STARTING, start_token=token, **words)
        with files.disk_errors(run.log_file), run.log_file.open("a") as file:
            file.write(
                f"{START_MARK}{time.strftime('%Y-%m-%d %H:%M:%S')} on {slot.name} {slot.cuda_visible_devices or ''}\n"
            )
        self._oom_kills[job.id] = host_oom_kills()
        environment = {"KD_HOME": str(self.workspace.root), "KD_RUN_ID": job.id, "PYTHONUNBUFFERED": "1"}
        environment |= slot.environment()
        if slot.threads is not None and "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(slot.threads)
        return self.executor.start(StartOrder(run, self.command_for(job), environment, token))


def _waited_for_another(job: Job) -> bool:
    return job.after is not None and (job.message or "").startswith(f"waits for {job.after}")
