"""How a job ends: in its row and in its run's status, with what can be done about it."""

from __future__ import annotations

import time
from typing import Any

from kdengine.jobs.failures import PRUNED, Failure
from kdengine.jobs.job import ACTIVE, Job
from kdengine.jobs.of_runs import end_status
from kdengine.jobs.remedies import remedies
from kdengine.jobs.store import JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.states import State


class Endings:
    """Writes the ends of jobs.

    Args:
        workspace: whose runs.
        store: its queue.
    """

    def __init__(self, workspace: Workspace, store: JobStore) -> None:
        self.workspace = workspace
        self.store = store

    def as_written(self, job: Job, status: dict[str, Any], exit_code: int | None) -> None:
        """The job ended as its run's status says."""
        if job.request == "prune" and status["state"] == State.STOPPED:
            # The run's own word first: should this end here, the next look finds it there.
            status = self.workspace.run(job.id).update_status(state=State.PRUNED, **PRUNED._asdict())
        code = status.get("exit_code")
        words = {key: status.get(key) for key in ("reason", "message", "advice")}
        state = State(status["state"])
        self._set_end(job, state=state, exit_code=exit_code if code is None else code, **words)

    def end(self, job: Job, failure: Failure, exit_code: int | None = None) -> None:
        """The job ended with a failure, or on request: both are written down, and what would help."""
        ended = self._set_end(job, state=failure.state, exit_code=exit_code, **failure._asdict())
        run = self.workspace.run(job.id)
        if ended and run.exists:
            found = remedies(failure.reason, run.spec_or_nothing(), device=str(run.environment().get("device")))
            run.update_status(**end_status(ended), remedies=found)  # should this fail, the next scan repairs it

    def _set_end(self, job: Job, **values: Any) -> Job | None:
        expected = ACTIVE | {State.QUEUED}
        return self.store.change(job.id, expected, ended=time.time(), request=None, told=False, **values)
