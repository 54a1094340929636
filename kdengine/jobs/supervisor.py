"""The loop that starts queued jobs, passes on requests, and reconciles what trainers, crashes and reboots left behind.

It keeps nothing that matters in memory: killed at any moment, the next one finds every job again by its process
identity, or by the start token in its environment when the identity was not stored yet.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kdengine import files
from kdengine.errors import KdError
from kdengine.jobs.executor import Executor, LocalExecutor, StartOrder, host_oom_kills
from kdengine.jobs.failures import ADVICE, PRUNED, Failure, classify_exception, classify_exit, left_behind
from kdengine.jobs.job import ACTIVE, ENDED, Job
from kdengine.jobs.placement import Placement, Slot, whole_number
from kdengine.jobs.remedies import remedies
from kdengine.jobs.settings import jobs_per_gpu
from kdengine.jobs.sight import waits_in_vain
from kdengine.jobs.store import JobStore, end_status, identity_values, works_now
from kdengine.rundir import RunDirectory, boot_id, home_identity, home_path, process_identity, same_home
from kdengine.states import State
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)

HEARTBEAT_EVERY_S = 5.0
LOCK_WAIT_S = 0.5
# A supervisor killed between "I start this" and "this is its process": how long the process may take to show itself.
UNSEEN_START_S = 2.0
# How long a status that contradicts its row is left alone: whoever writes both may be between the two.
UNSETTLED_S = 5.0
ERROR_PAUSE_S = 5.0
START_MARK = "=== started "
# A controller keeps nothing in memory, and without it the trials of a study would end unheard.
CONTROLLER_RESTARTS = 100

CommandFor = Callable[[Job], list[str]]
OnEnd = Callable[[RunDirectory, State], None]


def default_command(job: Job) -> list[str]:
    """``python -m kdengine execute <run id>`` for a run; ``... study control <id>`` for the controller of a study."""
    words = [job.kind, "control", job.id] if job.is_controller else ["execute", job.id]
    return [sys.executable, "-m", "kdengine", *words]


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
        on_end: called when a job has ended (MLflow is told then): once for each end, or again after a crash. It must
            return at once: whatever it does, the other jobs wait for it.
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
        self.command_for = command_for or default_command
        self.on_end = on_end
        self.on_begin = on_begin
        self.placement = placement or Placement(per_gpu=partial(jobs_per_gpu, workspace))
        self.poll_s = poll_s
        self.stop_grace_s = stop_grace_s
        self.auto_resume = (
            whole_number(os.environ, "KD_AUTO_RESUME", 0, least=0) if auto_resume is None else auto_resume
        )
        self.scan_s = scan_s
        self._leaving = threading.Event()
        self._home: str | None = None  # what the workspace was called when it began
        self._asked: set[str | None] = set()  # start tokens of the jobs that this supervisor has sent SIGTERM
        self._oom_kills: dict[str, int | None] = {}
        self._settled: dict[str, tuple[int, int]] = {}
        self._devices: dict[tuple[str, float], str] = {}  # that specs name; an id may be used again
        self._next_scan = 0.0
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
        steps = (self._beat, self._follow_all, self._scan, self._schedule, self._announce)
        return all([self._guarded(step) for step in steps])

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> bool:
        """One job with a broken folder, or a full disk, must not end the supervision of the others."""
        try:
            step(*arguments)
        except Exception:
            subject = arguments[0].id if arguments else "the queue"
            log.exception("%s failed for %s", getattr(step, "__name__", step), subject)
            return False
        return True

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
        done = [self._guarded(self._follow, job) for job in self.store.jobs(ACTIVE)]
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
            return self._end_as_written(job, status, None)
        return self._end(job, left_behind(home_path(job.workspace or "")))

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
            self._end(job, Failure("stopped", "cancelled before it started", ADVICE["stopped"]))
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
            return self._end_as_written(job, status, None)
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
            return self._end_as_written(job, status, exit_code)
        failure = self._why(job, exit_code)
        again = max(self.auto_resume, CONTROLLER_RESTARTS if job.is_controller else int(self._was_moved(job)))
        if failure.reason in ("killed", "lost") and job.retries < again:
            retried = self.store.retry(job.id)
            if retried is not None:
                log.warning("%s: %s; queued again (time %d)", job.id, failure.message, retried.retries)
                return None
        return self._end(job, failure, exit_code)

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
        oom_killed = _rose(self._oom_kills.get(job.id), host_oom_kills())
        code, number = (exit_code, None) if exit_code is None or exit_code >= 0 else (128 - exit_code, -exit_code)
        return classify_exit(code, number, self._log_of_attempt(job), oom_killed=oom_killed)

    def _end_as_written(self, job: Job, status: dict[str, Any], exit_code: int | None) -> None:
        if job.request == "prune" and status["state"] == State.STOPPED:
            # The run's own word first: should this end here, the next look finds it there.
            status = self.workspace.run(job.id).update_status(state=State.PRUNED, **PRUNED._asdict())
        code = status.get("exit_code")
        words = {key: status.get(key) for key in ("reason", "message", "advice")}
        state = State(status["state"])
        self._set_end(job, state=state, exit_code=exit_code if code is None else code, **words)

    def _end(self, job: Job, failure: Failure, exit_code: int | None = None) -> None:
        ended = self._set_end(job, state=failure.state, exit_code=exit_code, **failure._asdict())
        run = self.workspace.run(job.id)
        if ended and run.exists:
            found = remedies(failure.reason, run.spec_or_nothing(), device=str(run.environment().get("device")))
            run.update_status(**end_status(ended), remedies=found)  # should this fail, the next scan mends it

    def _set_end(self, job: Job, **values: Any) -> Job | None:
        expected = ACTIVE | {State.QUEUED}
        return self.store.change(job.id, expected, ended=time.time(), request=None, told=False, **values)

    def _status(self, job: Job) -> dict[str, Any]:
        """The status of this start of the job; {} when the file still tells of an earlier one, or is damaged."""
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

    # runs from a shell ---------------------------------------------------------------------------------------------

    def _scan(self) -> None:
        """Looks at the folders of all runs that are not under way here."""
        if time.monotonic() < self._next_scan:
            return
        rows = {job.id: job for job in self.store.jobs()}
        done = [self._guarded(self._look_at, run, rows.get(run.id)) for run in self.workspace.list_runs()]
        self._next_scan = time.monotonic() + self.scan_s
        if not all(done):
            raise KdError("some run folders could not be read; see above")

    def _look_at(self, run: RunDirectory, job: Job | None) -> None:
        if job is None:
            adopted = self.store.adopt(run)
            if adopted:
                log.info("%s was started from a shell; it is in the table now", run.id)
            return
        if job.state in ACTIVE:
            return
        mark = _file_mark(run.status_file)
        if job.state.ended and self._settled.get(run.id) == mark:
            return
        if self._compare(run, job):
            self._settled[run.id] = mark

    def _compare(self, run: RunDirectory, job: Job) -> bool:
        """Brings row and status.json together; True when they agree and need no look before the file changes again."""
        status = run.status()
        said = State(status.get("state") or State.QUEUED)
        process = status.get("process") or {}
        if works_now(run, status):
            live = said if said in ACTIVE else State.STARTING
            values = identity_values(process) | {"start_token": None, "slot": None, "request": None, "ended": None}
            self.store.change(job.id, ENDED | {State.QUEUED}, state=live, stopping_since=None, **values)
            return False
        if job.state is State.QUEUED:
            return False
        if "damaged" in status:
            return True  # the row knows better
        if said.ended:
            if said is not job.state:
                words = {key: status.get(key) for key in ("reason", "message", "advice", "exit_code")}
                self.store.change(job.id, ENDED, state=said, told=False, **words)
            return True
        if time.time() - run.status_file.stat().st_mtime > UNSETTLED_S:
            self.store.mend_status(job.id)
        return False

    # the queue -----------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        queue = self.store.jobs({State.QUEUED})
        active = self.store.jobs(ACTIVE) if queue else []
        told = False
        for job in queue:
            if not self._may_start(job):
                continue
            slot = self.placement.find(job, active, self._device_wanted(job))
            if isinstance(slot, Slot):
                started = self._start(job, slot)
                active += [started] if started else []
            elif not told or _waited_for_another(job):
                # The first says it for all behind it, but none goes on saying what is no longer so.
                self._say_why_waiting(job, slot)
                told = True

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
            self._end(job, Failure("dependency", message, ADVICE["dependency"]))
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
            self._end(claimed, classify_exception(error))
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

    # telling -------------------------------------------------------------------------------------------------------

    def _announce(self) -> None:
        """Tells ``on_end`` of each end; after a crash in between it is told again rather than never."""
        for job in self.store.untold():
            run = self.workspace.run(job.id)
            if self.on_end is not None and run.exists:
                self._guarded(self.on_end, run, job.state)
            self.store.change(job.id, {job.state}, told=True)


def _waited_for_another(job: Job) -> bool:
    return job.after is not None and (job.message or "").startswith(f"waits for {job.after}")


def _rose(before: int | None, now: int | None) -> bool:
    return before is not None and now is not None and now > before


def _file_mark(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino
