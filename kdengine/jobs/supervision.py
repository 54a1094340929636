"""Starting, finding and ending the supervisor of a workspace from a page or a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from kdengine.errors import BadInput, DamagedFile, KdError, Problem
from kdengine.jobs.executor import child_environment
from kdengine.jobs.job import ACTIVE, UNENDED, Job
from kdengine.jobs.sight import as_it_is
from kdengine.jobs.store import JobStore
from kdengine.jobs.supervisor import identity_file, lock_file
from kdengine.processes import is_alive
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import home_identity
from kdengine.workspace.rundir import ACCEPTS_CHANGED_DATA

START_WAIT_S = 120.0
LOOK_EVERY_S = 0.05
SETTLE_WAIT_S = 15.0


def _resume_with_other_data(store: JobStore, job_id: str) -> Job:
    """Resumes a run that ended because its data had changed; it goes on with what they are when it starts."""
    job = store.get(job_id)
    if job.reason != "data_changed":
        raise BadInput(Problem("job", f"{job_id} did not end because its data had changed; resume it"))
    store.workspace.run(job_id).update_status(**{ACCEPTS_CHANGED_DATA: True})
    return store.resume(job_id)


REQUESTS: dict[str, Callable[[JobStore, str], object]] = {
    "stop": JobStore.request_stop,
    "kill": JobStore.request_kill,
    "resume": JobStore.resume,
    "accept": _resume_with_other_data,
    "cancel": JobStore.cancel,
} | {where: partial(JobStore.move, where=where) for where in ("up", "down", "top", "bottom")}
# What only a supervisor can carry out; the order of a queue that nobody works off may be changed all the same.
CARRIED_OUT = ("stop", "kill", "resume", "accept")


def supervisor_identity(workspace: Workspace) -> dict[str, Any] | None:
    """Identity and ``heartbeat`` (seconds since the epoch) of the living supervisor, None when there is none.

    Costs well under a millisecond. One that serves the workspace this one is a copy of does not count, nor does one
    that has yet to notice that the workspace was moved.
    """
    try:
        identity = files.read_json(identity_file(workspace))
    except DamagedFile:
        return None  # it is written anew every few seconds
    if not identity or identity.get("workspace") not in (None, home_identity(workspace.root)):
        return None
    return identity if is_alive(identity) and files.is_held(lock_file(workspace)) else None


def supervisor_alive(workspace: Workspace) -> bool:
    """Whether a supervisor works for this workspace."""
    return supervisor_identity(workspace) is not None


def ensure_supervisor(workspace: Workspace, argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Starts a supervisor unless one is alive, and returns its identity once it works.

    It gets a session of its own and outlives the caller; its output goes to ``supervisor.log``. Two callers at once
    start one.

    Args:
        argv: how to start it; default ``python -m kdengine supervise``.

    Raises:
        KdError: it did not come up within two minutes; the message holds the last lines of its log.
    """
    workspace.check_writable()
    with files.lock(workspace.root / ".supervisor-start.lock"):
        deadline = time.monotonic() + START_WAIT_S
        child: subprocess.Popen[bytes] | None = None
        while time.monotonic() < deadline:
            identity = supervisor_identity(workspace)
            if identity:
                return identity
            if child is None:
                child = _spawn(workspace, argv or [sys.executable, "-m", "kdengine", "supervise"])
            elif child.poll() == 0:
                child = None  # an older one was just leaving and still held the lock: once more
            elif child.poll() is not None:
                break
            time.sleep(LOOK_EVERY_S)
    log_file = workspace.root / "supervisor.log"
    tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-10:])
    raise KdError(f"the supervisor did not start; the end of {log_file}:\n{tail}")


def stop_supervisor(workspace: Workspace, timeout_s: float = 10.0) -> bool:
    """Ends the supervisor; running jobs go on and are found again by the next one. False when there was none."""
    identity = supervisor_identity(workspace)
    if identity is None:
        return False
    for number, wait_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, timeout_s)):
        _send(identity, number)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if not is_alive(identity):
                return True
            time.sleep(LOOK_EVERY_S)
    raise KdError(
        f"the supervisor (process {identity['pid']}) cannot be ended; see what it does with `ps {identity['pid']}`"
    )


def request(workspace: Workspace, job_id: str, what: str, argv: Sequence[str] | None = None) -> Job:
    """Asks something of a job, and sees to it that a supervisor is there to do it.

    Args:
        workspace: whose job it is.
        job_id: id of the job.
        what: "stop", "kill", "resume", "accept" (resume with data that changed), "cancel", or where to move it in the
            queue: "up", "down", "top", "bottom".
        argv: how to start a supervisor, see `ensure_supervisor`.

    Returns:
        The job after the request.

    Raises:
        BadInput: it makes no sense, in words; also when the job has started, ended or gone since it was looked at.
        KdError: no supervisor could be started.
    """
    store = JobStore(workspace)
    job = store.get(job_id)
    if what not in REQUESTS:
        raise BadInput(Problem("what", f"cannot {what!r} a job; choose {', '.join(REQUESTS)}"))
    if job.state in ACTIVE and not supervisor_alive(workspace):
        ensure_supervisor(workspace, argv)
        _wait_until_true(store, job)
    REQUESTS[what](store, job_id)
    now = store.get(job_id)
    if what in CARRIED_OUT and now.state in UNENDED:
        ensure_supervisor(workspace, argv)
    return now


def _wait_until_true(store: JobStore, job: Job) -> None:
    """Until the row says what became of a job whose process ended while no supervisor was at work."""
    deadline = time.monotonic() + SETTLE_WAIT_S
    status = store.workspace.run(job.id).status()
    if as_it_is(job, status, store.workspace.root).state.ended:
        while (now := store.find(job.id)) and now.state in ACTIVE and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)


def _spawn(workspace: Workspace, argv: Sequence[str]) -> subprocess.Popen[bytes]:
    log_file = workspace.root / "supervisor.log"
    with files.disk_errors(log_file), log_file.open("ab") as output:
        child = subprocess.Popen(
            list(argv),
            shell=False,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            close_fds=True,
            cwd=workspace.root,
            env=child_environment() | {"KD_HOME": str(workspace.root)},
        )
    # Somebody must take its exit code, or a dead supervisor stays a zombie for as long as the page lives.
    threading.Thread(target=child.wait, daemon=True, name="supervisor-reaper").start()
    return child


def _send(identity: dict[str, Any], number: signal.Signals) -> None:
    if not is_alive(identity):
        return
    try:
        os.kill(identity["pid"], number)
    except ProcessLookupError:
        return
