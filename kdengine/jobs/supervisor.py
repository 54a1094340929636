"""The loop that starts queued jobs, passes on requests, and reconciles what trainers, crashes and reboots left behind.

It keeps nothing that matters in memory: killed at any moment, the next one finds every job again by its process
identity, or by the start token in its environment when the identity was not stored yet.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kdengine.errors import KdError
from kdengine.jobs.endings import Endings
from kdengine.jobs.executor import Executor, LocalExecutor
from kdengine.jobs.failures import ADVICE, PRUNED, Failure, classify_exit, left_behind
from kdengine.jobs.guarded import guarded
from kdengine.jobs.job import ACTIVE, Job
from kdengine.jobs.of_runs import identity_values
from kdengine.jobs.placement import Placement, whole_number
from kdengine.jobs.settings import jobs_per_gpu
from kdengine.jobs.shell_runs import ShellRuns
from kdengine.jobs.starts import START_MARK, CommandFor, Starts, default_command
from kdengine.jobs.store import JobStore
from kdengine.processes import boot_id
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import home_identity, home_path, process_identity, same_home
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

log = logging.getLogger(__name__)

HEARTBEAT_EVERY_S = 5.0
LOCK_WAIT_S = 0.5
# A supervisor killed between "I start this" and "this is its process": how long the process may take to show itself.
UNSEEN_START_S = 2.0
ERROR_PAUSE_S = 5.0
# A controller keeps nothing in memory, and without it the trials of a study would end unheard.
CONTROLLER_RESTARTS = 100

OnEnd = Callable[[RunDirectory, State], None]


def identity_file(workspace: Workspace) -> Path:
    """Where the supervisor writes who it is: ``process_identity`` and heartbeat (seconds since the epoch)."""
    return workspace.root / "supervisor.json"


def lock_file(workspace: Workspace) -> Path:
    """What the supervisor holds for its life: whatever the identity file says, this decides whether there is one."""
    return workspace.root / "supervisor.lock"


class Supervisor:
    """One per workspace; ``run()`` is its life.

    Args:
        workspace: whose queue and runs.
        executor: starts and ends processes; default ``LocalExecutor``.
        command_for: the argv of a job's trainer; default ``default_command``. The contract it keeps: ``executor.py``.
        on_end: called when a job has ended (MLflow is brought up to date then): once for each end, or again after a
            crash. It must return at once: whatever it does, the other jobs wait for it.
        on_begin: called once, when this supervisor is the one that works.
        placement: which slots there are; default from the machine and the environment.
        poll_s: seconds between two looks.
        stop_grace_s: seconds between asking a job to stop and killing it.
        auto_resume: how often a job that was killed or lost is queued again without being asked; default
            ``KD_AUTO_RESUME`` or 0.
        scan_s: seconds between two looks at all run folders (runs from a shell).
    """

    def __init__(
        self,
        workspace: Workspace,
        executor: Executor | None = None,
        command_for: CommandFor | None = None,
        on_end: OnEnd | None = None,
        *,
        placement: Placement | None = None,
        poll_s: float = 0.5,
        stop_grace_s: float = 30.0,
        auto_resume: int | None = None,
        scan_s: float = 2.0,
        on_begin: Callable[[], None] | None = None,
    ) -> None:
        self.workspace = workspace
        self.store = JobStore(workspace)
        self.executor = executor or LocalExecutor()
        self.on_end = on_end
        self.on_begin = on_begin
        self.poll_s = poll_s
        self.stop_grace_s = stop_grace_s
        self.auto_resume = (
            whole_number(os.environ, "KD_AUTO_RESUME", 0, least=0) if auto_resume is None else auto_resume
        )
        self.endings = Endings(workspace, self.store)
        slots = placement or Placement(per_gpu=partial(jobs_per_gpu, workspace))
        command = command_for or default_command
        self.starts = Starts(workspace, self.store, self.executor, slots, command, self.endings)
        self.shell_runs = ShellRuns(workspace, self.store, scan_s)
        self._leaving = threading.Event()
        self._home: str | None = None  # what the workspace was called when it began
        self._asked: set[str | None] = set()  # start tokens of the jobs that this supervisor has sent SIGTERM
        self._next_beat = 0.0

    # life ----------------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Works until ``leave()``, SIGTERM or SIGINT; jobs go on without it. False when another one is at work."""
        # Those who only look whether it is held hold it for an instant themselves.
        with files.lock(lock_file(self.workspace), blocking=False, wait_s=LOCK_WAIT_S) as held:
            if not held:
                log.info("another supervisor works for %s; this one leaves", self.workspace.root)
                return False
            self._listen()
            self.store.sweep_trash()
            self._home = home_identity(self.workspace.root)
            if self.on_begin is not None:
                self.on_begin()
            try:
                while not self._leaving.is_set() and self._at_home():
                    healthy = self.tick()
                    self._leaving.wait(self.poll_s if healthy else max(self.poll_s, ERROR_PAUSE_S))
            finally:
                if self._at_home():
                    identity_file(self.workspace).unlink(missing_ok=True)
        return True

    def _at_home(self) -> bool:
        """Whether the workspace is where it was: at the old place of one that was moved nothing is made or written."""
        if self._home is None or home_identity(self.workspace.root) == self._home:
            return True
        log.warning("%s was moved or deleted; its supervisor leaves", self.workspace.root)
        return False

    def leave(self) -> None:
        """Ends ``run()`` after the present look."""
        self._leaving.set()

    def tick(self) -> bool:
        """One look at everything. False when something went wrong; it is logged, and the next look tries again."""
        steps = (self._beat, self._follow_all, self.shell_runs.scan, self.starts.schedule, self._announce)
        return all([guarded(step) for step in steps])

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.leave())

    def _beat(self) -> None:
        if time.monotonic() >= self._next_beat and self._at_home():
            files.write_json(identity_file(self.workspace), self._identity() | {"heartbeat": time.time()})
            self._next_beat = time.monotonic() + HEARTBEAT_EVERY_S

    def _identity(self) -> dict[str, Any]:
        return process_identity(home=self.workspace.root)

    # jobs under way ------------------------------------------------------------------------------------------------

    def _follow_all(self) -> None:
        done = [guarded(self._follow, job) for job in self.store.jobs(ACTIVE)]
        if not all(done):
            raise KdError("some jobs could not be followed; see above")

    def _follow(self, job: Job) -> None:
        if not same_home(job.workspace, self.workspace.root):
            return self._follow_left_behind(job)
        found = self._with_process(job)
        if found is None:
            return None
        return self._follow_living(found) if self._lives(found) else self._follow_dead(found)

    def _follow_left_behind(self, job: Job) -> None:
        """Of a copied workspace: the process works for the original, and nothing is asked of it from here."""
        status = self._status(job)
        if State(status.get("state") or State.STARTING).ended:
            return self.endings.as_written(job, status, None)
        return self.endings.end(job, left_behind(home_path(job.workspace or "")))

    def _was_moved(self, job: Job) -> bool:
        """Whether the workspace has moved since the job started, which ends it as soon as it misses its folder."""
        return job.workspace is not None and home_path(job.workspace) != str(self.workspace.root)

    def _with_process(self, job: Job) -> Job | None:
        """The job with its process known. None when there is none yet; one that never got to start is queued again."""
        if job.pid is not None:
            return job
        status = self._status(job)
        identity = (self.executor.find(job.start_token) if job.start_token else None) or status.get("process")
        if identity or State(status.get("state") or State.QUEUED).ended:
            return self.store.change(job.id, ACTIVE, **identity_values(identity or {"pid": 0}))
        if time.time() - (job.started or 0) < UNSEEN_START_S:
            return None
        if job.request:
            self.endings.end(job, Failure("stopped", "cancelled before it started", ADVICE["stopped"]))
        else:
            unstarted = dict.fromkeys(("slot", "device", "workspace", "start_token", "started"))
            self.store.change(job.id, ACTIVE, state=State.QUEUED, attempt=job.attempt - 1, **unstarted)
        return None

    def _lives(self, job: Job) -> bool:
        if self.executor.alive(job.identity):
            return True
        # A step of the machine's clock shifts the create time of every process; the token does not move.
        again = self.executor.find(job.start_token) if job.start_token else None
        if again is None or again["pid"] != job.pid:
            return False
        self.store.change(job.id, ACTIVE, **identity_values(again))
        return True

    def _follow_living(self, job: Job) -> None:
        status = self._status(job)
        said = State(status.get("state") or State.STARTING)
        if said.ended and job.start_token is None:
            # It may be a notebook, which lives on after its run.
            return self.endings.as_written(job, status, None)
        if said.ended and time.time() - self._written_at(job) > self.stop_grace_s:
            log.warning("%s said it is %s but did not leave; killing what is left", job.id, said)
            self.executor.kill(job.identity, job.start_token)
            return None
        if said in (State.RUNNING, State.STOPPING) and job.state is not said and job.state is not State.STOPPING:
            job = self.store.change(job.id, ACTIVE, state=said) or job
        if (status.get("attempt") or 0) > job.attempt:
            self.store.change(job.id, ACTIVE, attempt=status["attempt"])
        self._pass_on_request(job, said)
        return None

    def _pass_on_request(self, job: Job, said: State) -> None:
        if job.request is None:
            return
        if job.stopping_since is None:
            job = self.store.change(job.id, ACTIVE, state=State.STOPPING, stopping_since=time.time()) or job
        waited = time.time() - (job.stopping_since or time.time())
        if job.request == "kill" or waited > self.stop_grace_s:
            left = self.executor.kill(job.identity, job.start_token)
            if left:
                log.warning("%s: %d processes would not be killed yet", job.id, left)
        elif said is not State.STOPPING and self._ask_key(job) not in self._asked:
            # Asked once by each supervisor: a second SIGTERM would end the trainer before its checkpoint.
            self._asked.add(self._ask_key(job))
            self.executor.terminate(job.identity)

    def _ask_key(self, job: Job) -> str:
        return f"{job.id} {job.pid} {job.create_time}"

    def _follow_dead(self, job: Job) -> None:
        exit_code = self.executor.exit_code(job.identity)
        left = self.executor.kill(job.identity, job.start_token)
        if left:
            log.warning("%s has ended, but %d of its processes would not", job.id, left)
        status = self._status(job)  # only now: its last word may have come after the last look
        if State(status.get("state") or State.STARTING).ended:
            return self.endings.as_written(job, status, exit_code)
        failure = self._why(job, exit_code)
        again = max(self.auto_resume, CONTROLLER_RESTARTS if job.is_controller else int(self._was_moved(job)))
        if failure.reason in ("killed", "lost") and job.retries < again:
            retried = self.store.retry(job.id)
            if retried is not None:
                log.warning("%s: %s; queued again (time %d)", job.id, failure.message, retried.retries)
                return None
        return self.endings.end(job, failure, exit_code)

    def _why(self, job: Job, exit_code: int | None) -> Failure:
        if job.boot_id and job.boot_id != boot_id():
            return Failure("lost", "the machine was restarted while it ran", ADVICE["lost"])
        if job.request == "prune":
            return PRUNED
        if job.request == "kill":
            return Failure("stopped", "killed on request, without a new checkpoint", ADVICE["stopped"])
        if job.request == "stop":
            forced = exit_code == -signal.SIGKILL
            message = f"killed: it did not stop within {self.stop_grace_s:g} s" if forced else "stopped on request"
            return Failure("stopped", message, ADVICE["stopped"])
        if self._was_moved(job):
            return Failure("lost", f"the workspace was moved from {home_path(job.workspace or '')}", ADVICE["lost"])
        oom_killed = self.starts.killed_for_memory_since(job)
        code, number = (exit_code, None) if exit_code is None or exit_code >= 0 else (128 - exit_code, -exit_code)
        return classify_exit(code, number, self._log_of_attempt(job), oom_killed=oom_killed)

    def _status(self, job: Job) -> dict[str, Any]:
        """The status of this start of the job; {} when the file is still of an earlier one, or is damaged."""
        status = self.workspace.run(job.id).status()
        if "damaged" in status:
            return {}
        return status if job.start_token in (None, status.get("start_token")) else {}

    def _written_at(self, job: Job) -> float:
        return self.workspace.run(job.id).status_file.stat().st_mtime

    def _log_of_attempt(self, job: Job) -> list[str]:
        lines = self.workspace.run(job.id).log_tail()
        marks = [number for number, line in enumerate(lines) if line.startswith(START_MARK)]
        return lines[marks[-1] + 1 :] if marks else lines

    # telling -------------------------------------------------------------------------------------------------------

    def _announce(self) -> None:
        """Calls ``on_end`` for each end; after a crash in between again rather than never."""
        for job in self.store.unannounced():
            run = self.workspace.run(job.id)
            if self.on_end is not None and run.exists:
                guarded(self.on_end, run, job.state)
            self.store.change(job.id, {job.state}, told=True)
