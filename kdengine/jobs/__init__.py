"""Jobs: a queue in SQLite, a supervisor process, executors. Knows run folders; knows neither torch nor a page."""

from __future__ import annotations

from kdengine.jobs.executor import RUNNING_LOCK, Executor, LocalExecutor, StartOrder, child_environment
from kdengine.jobs.failures import Failure, classify_exception, classify_exit
from kdengine.jobs.job import Job, JobLabels
from kdengine.jobs.keeper import Keeper
from kdengine.jobs.placement import Placement, Slot
from kdengine.jobs.sight import as_it_is, dead_end, waits_in_vain
from kdengine.jobs.stall import last_looks, stalled
from kdengine.jobs.starts import default_command
from kdengine.jobs.store import JobStore
from kdengine.jobs.supervision import (
    ensure_supervisor,
    request,
    stop_supervisor,
    supervisor_alive,
    supervisor_identity,
)
from kdengine.jobs.supervisor import Supervisor

__all__ = [
    "RUNNING_LOCK",
    "Executor",
    "Failure",
    "Job",
    "JobLabels",
    "JobStore",
    "Keeper",
    "LocalExecutor",
    "Placement",
    "Slot",
    "StartOrder",
    "Supervisor",
    "as_it_is",
    "child_environment",
    "classify_exception",
    "classify_exit",
    "dead_end",
    "default_command",
    "ensure_supervisor",
    "last_looks",
    "request",
    "stalled",
    "stop_supervisor",
    "supervisor_alive",
    "supervisor_identity",
    "waits_in_vain",
]
