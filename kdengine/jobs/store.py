"""The queue in SQLite. Pages and the shell read it and write requests; the supervisor moves jobs from state to state.

Every change is one short transaction that takes the write lock first (BEGIN IMMEDIATE), so that two writers never act
on the same old row. A connection lives for one call: nothing is shared between threads, nothing survives a fork.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kdengine.errors import BadInput, Problem
from kdengine.jobs.database import JobDatabase, any_of, known_job, select, update_row
from kdengine.jobs.failures import PRUNED, Failure, left_behind
from kdengine.jobs.job import ACTIVE, ENDED, UNENDED, Job, JobLabels, labels_of_spec
from kdengine.jobs.of_runs import age_mark, end_status, identity_values, needed_by, outcome_values, spec_text, works_now
from kdengine.jobs.queue_order import check_after, last_position, queued_ids, write_order
from kdengine.processes import user_name
from kdengine.workspace import Workspace, files
from kdengine.workspace.identity import home_path, same_home
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

# A shell's trainer makes its folder a moment before it writes who it is.
YOUNG_S = 60.0
CANCELLED = Failure("stopped", "cancelled before it started", "")
# What a fresh start must not inherit from the attempt before it, in the row and in status.json.
_CLEAN_STATUS: dict[str, Any] = dict.fromkeys(("process", "reason", "message", "advice", "exit_code", "start_token"))
_CLEAN_ROW: dict[str, Any] = dict.fromkeys(
    (
        *("slot", "device", "pid", "create_time", "boot_id", "workspace", "start_token", "started", "ended"),
        *("exit_code", "reason", "message", "advice", "request", "stopping_since"),
    )
)
# Running first, then the queue in its order, then what has ended, the newest first.
_TABLE_ORDER = """ORDER BY
    CASE WHEN state IN ('starting', 'running', 'stopping') THEN 0 WHEN state = 'queued' THEN 1 ELSE 2 END,
    CASE WHEN state = 'queued' THEN position END, submitted DESC, position DESC"""


class JobStore:
    """The table of all jobs of a workspace.

    Args:
        workspace: where ``jobs.db`` and the run folders are. Nothing is created until something is written.

    Raises:
        BadInput: a request that makes no sense (unknown job, wrong state), in words.
        DiskFull, KdError: the database cannot be written.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        database = JobDatabase(workspace)
        self._connect, self._write = database.reading, database.writing

    # reading -------------------------------------------------------------------------------------------------------

    def jobs(self, states: Iterable[State] | None = None, limit: int | None = None) -> list[Job]:
        """Jobs in the order of the table: running, queued in queue order, ended (newest first)."""
        if not self.workspace.jobs_db.exists():
            return []
        where, values = ("", []) if states is None else any_of(states)
        query = f"SELECT * FROM jobs {where} {_TABLE_ORDER} LIMIT ?"
        with self._connect() as db:
            return [Job.from_row(row) for row in db.execute(query, [*values, -1 if limit is None else limit])]

    def find(self, job_id: str) -> Job | None:
        """The job of that id, None when there is none."""
        if not self.workspace.jobs_db.exists():
            return None
        with self._connect() as db:
            return select(db, job_id)

    def get(self, job_id: str) -> Job:
        """The job of that id; raises BadInput when there is none."""
        return known_job(self.find(job_id), job_id)

    def clone_source(self, job_id: str) -> str:
        """The spec (YAML) the job was submitted with. Raises BadInput when its folder is gone."""
        run = self.workspace.run(self.get(job_id).id)
        if not run.exists:
            raise BadInput(Problem("job", f"the folder of {job_id!r} is gone, and its spec with it; nothing to clone"))
        return run.spec_text()

    # submitting ----------------------------------------------------------------------------------------------------

    def submit(
        self,
        spec_yaml: str,
        *,
        run_id: str,
        command: str,
        labels: JobLabels,
        after: str | None = None,
        token: str | None = None,
        owner: str | None = None,
        status: Mapping[str, Any] = MappingProxyType({}),
    ) -> Job:
        """Puts a run at the end of the queue; its folder, with the snapshot of the spec, is made now.

        Args:
            spec_yaml: the whole spec; later edits of anything else do not reach it.
            run_id: id of job and run, see ``rundir.new_run_id``.
            command: the shell command that would do the same, kept in ``command.txt``.
            after: id of a job that must finish first.
            token: one per form shown; a second submit with it returns the first job and makes nothing.
            status: what else the run's status.json says from the beginning.

        Raises:
            BadInput: the id is not valid or taken, or ``after`` is unknown or can never finish.
            DiskFull, KdError: nothing could be written; then there is neither a row nor a folder.
        """
        run = self.workspace.run(run_id)
        with self._write() as db:
            if token is not None and (earlier := select(db, token, "token")):
                return earlier
            check_after(db, after)
            if select(db, run_id) or (run.path.exists() and not run.half_made):
                raise BadInput(Problem("run", f"the run {run_id!r} exists already; choose another id or resume it"))
            self._insert(db, run_id, labels, State.QUEUED, owner=owner, after=after, token=token)
            with self._all_or_nothing(run.path):
                run.create(spec_yaml, command)
                if status:
                    run.update_status(**status)
                db.execute("COMMIT")
        return self.get(run_id)

    def adopt(self, run: RunDirectory, now: float | None = None) -> Job | None:
        """Gives a run that was started from a shell its row, so that it is in the table and can be stopped.

        Returns the row (also when there was one). None for a young folder (< 60 s) whose trainer has not yet said who
        it is.
        """
        status = run.status()
        state, known = State(status.get("state") or State.QUEUED), status.get("process")
        announced, values = False, {}
        if state.ended:
            announced, values = True, outcome_values(run, status)
        elif known and not same_home(known.get("workspace"), run.home):
            state, values = State.LOST, left_behind(home_path(known["workspace"]))._asdict()
        elif known:
            values = identity_values(known)
            state = state if state in ACTIVE else State.STARTING
        elif (time.time() if now is None else now) - age_mark(run) < YOUNG_S:
            return None
        else:
            state = State.LOST
            values = {"reason": "lost", "message": "it was never started", "advice": "Resume it, or delete it."}
        labels = labels_of_spec(spec_text(run), run.id)
        with self._write() as db:
            existing = select(db, run.id)
            if existing is None and run.exists:  # it may have been deleted since it was listed
                submitted = status.get("created") or age_mark(run)
                self._insert(db, run.id, labels, state, submitted=submitted, told=announced, **values)
                existing = select(db, run.id)
        return existing

    # requests ------------------------------------------------------------------------------------------------------

    def request_stop(self, job_id: str) -> Job:
        """Asks a running job to write a checkpoint and end; a queued one is cancelled at once."""
        return self._request(job_id, "stop")

    def request_kill(self, job_id: str) -> Job:
        """Asks that a running job be ended at once, without a checkpoint; a queued one is cancelled."""
        return self._request(job_id, "kill")

    def request_prune(self, job_id: str) -> Job:
        """As `request_stop`, for a study that gives the run up: it ends as pruned, which is not resumed."""
        return self._request(job_id, "prune")

    def cancel(self, job_id: str) -> Job:
        """Takes a queued job out of the queue (it can be resumed later). Raises BadInput when it has started."""
        with self._write() as db:
            job = known_job(select(db, job_id), job_id)
            if job.state is not State.QUEUED:
                raise BadInput(Problem("job", f"{job_id!r} is {job.state}, not queued; only a queued job is cancelled"))
            self._cancel(db, job, CANCELLED)
        return self.get(job_id)

    def resume(self, job_id: str) -> Job:
        """Queues an ended job again, at the end; it continues from its last checkpoint in the same folder.

        One that waits for a job which has yet to be resumed itself waits for that. Raises BadInput when it is still
        alive, has finished, has lost its folder, or waits for a job that was deleted.
        """
        with self._write() as db:
            job = known_job(select(db, job_id), job_id)
            run = self.workspace.run(job.id)
            self._check_resumable(db, job, run)
            _queue_anew(db, job, run, retries=0)
        return self.get(job_id)

    def retry(self, job_id: str) -> Job | None:
        """Queues a job whose process has died again, in one step: nobody sees it ended, and no crash leaves it so.

        Returns None, and does nothing, when the job is not under way, is asked to end, or its folder is gone.
        """
        with self._write() as db:
            job, run = select(db, job_id), self.workspace.run(job_id)
            if job is None or job.state not in ACTIVE or job.request or not run.exists:
                return None
            _queue_anew(db, job, run, retries=job.retries + 1)
            return select(db, job_id)

    def dependents(self, job_id: str) -> list[str]:
        """Ids of the runs whose teacher a run was or is to be, finished ones among them: what a person wants to know
        before it is deleted. They keep their results, and what was known of their teacher (``teacher_deleted``)."""
        waiting = {job.id for job in self.jobs() if job.after == job_id}
        runs = [run for run in self.workspace.list_runs() if run.id != job_id]
        return [run.id for run in runs if run.id in waiting or run.status().get("teacher_run") == job_id]

    def delete(self, job_id: str) -> None:
        """Removes the row and the folder; the runs it was the teacher of note what was known of it.

        Raises:
            BadInput: it is alive or queued, another job waits for it, or a run that can be resumed has it as teacher.
        """
        run = self.workspace.run(job_id)
        trash = run.path.with_name(f".trash-{run.id}-{secrets.token_hex(4)}")
        with self._write() as db:
            job = known_job(select(db, job_id), job_id)
            if not job.state.ended or works_now(run):
                raise BadInput(Problem("job", f"{job_id!r} is {_spoken(job)}; stop it first, then delete it"))
            where, values = any_of(UNENDED)
            waiting = [row["id"] for row in db.execute(f"SELECT id FROM jobs {where} AND after = ?", [*values, job_id])]
            if waiting:
                raise BadInput(Problem("job", f"{', '.join(waiting)} waits for {job_id!r}; cancel that first"))
            students = needed_by(self.workspace, job_id)
            if students:
                message = f"{', '.join(students)} can be resumed and has {job_id!r} as its teacher; delete that first"
                raise BadInput(Problem("job", message))
            self._say_goodbye(job, run)
            db.execute("DELETE FROM jobs WHERE id = ?", [job_id])
            if run.path.exists():
                with files.disk_errors(run.path):
                    run.path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)

    def move(self, job_id: str, where: str) -> None:
        """Moves a queued job "up", "down", to the "top" or to the "bottom" of the queue."""
        with self._write() as db:
            queue = queued_ids(db)
            if job_id not in queue:
                job = known_job(select(db, job_id), job_id)
                raise BadInput(Problem("job", f"{job_id!r} is {job.state}; only a queued job can be moved"))
            old = queue.index(job_id)
            places = {"up": max(0, old - 1), "down": old + 1, "top": 0, "bottom": len(queue)}
            if where not in places:
                raise BadInput(Problem("where", f"cannot move {where!r}; choose up, down, top or bottom"))
            queue.remove(job_id)
            queue.insert(places[where], job_id)
            write_order(db, queue)

    def reorder(self, job_ids: Sequence[str]) -> None:
        """Puts the named queued jobs first, in this order; the others follow as they were.

        A job that has left the queue since the page was drawn is passed over; an unknown one raises BadInput.
        """
        with self._write() as db:
            for job_id in job_ids:
                known_job(select(db, job_id), job_id)
            queue = queued_ids(db)
            first = [job_id for job_id in dict.fromkeys(job_ids) if job_id in queue]
            write_order(db, first + [job_id for job_id in queue if job_id not in first])

    # for the supervisor --------------------------------------------------------------------------------------------

    def change(self, job_id: str, expected: Iterable[State], **changes: Any) -> Job | None:
        """Compare and set: writes ``changes`` when the job is in one of the ``expected`` states, else returns None."""
        with self._write() as db:
            job = select(db, job_id)
            if job is None or job.state not in set(expected):
                return None
            update_row(db, job_id, changes)
            return select(db, job_id)

    def repair_status(self, job_id: str) -> None:
        """Writes the end of a job into its status.json, where a crash had kept that from being written."""
        with self._write() as db:  # holding the lock, nobody resumes it meanwhile
            job = select(db, job_id)
            run = self.workspace.run(job_id)
            if job and job.state.ended and run.exists:
                written = run.state()
                if written is None or not written.ended:
                    run.update_status(**end_status(job))

    def unannounced(self) -> list[Job]:
        """Ended jobs whose end has not been announced yet."""
        if not self.workspace.jobs_db.exists():
            return []
        where, values = any_of(ENDED)
        with self._connect() as db:
            return [Job.from_row(row) for row in db.execute(f"SELECT * FROM jobs {where} AND told = 0", values)]

    def sweep_trash(self) -> None:
        """Removes folders of deleted runs that a crash left half removed."""
        for trash in self.workspace.runs.glob(".trash-*"):
            shutil.rmtree(trash, ignore_errors=True)

    # inside --------------------------------------------------------------------------------------------------------

    def _request(self, job_id: str, request: str) -> Job:
        with self._write() as db:
            job = known_job(select(db, job_id), job_id)
            if job.state.ended:
                raise BadInput(Problem("job", f"{job_id!r} has ended already ({job.state}); there is nothing to stop"))
            if job.state is State.QUEUED:
                self._cancel(db, job, PRUNED if request == "prune" else CANCELLED)
            elif job.request != "kill":  # a stop after a kill would only soften it
                update_row(db, job_id, {"request": request})
        return self.get(job_id)

    def _say_goodbye(self, job: Job, run: RunDirectory) -> None:
        """Leaves what the students of a run need to know of it in their own folders."""
        status = run.status()
        best, test = status.get("best") or {}, (status.get("test") or {}).get("best") or {}
        known = {"run": job.id, "name": job.name, "student": job.student, "method": job.method, "at": time.time()}
        known |= {"validation": best.get("accuracy"), "test": test.get("accuracy")}
        for name in self.dependents(job.id):
            self.workspace.run(name).update_status(teacher_deleted=known)

    def _cancel(self, db: sqlite3.Connection, job: Job, why: Failure) -> None:
        end = {"state": why.state} | why._asdict()
        update_row(db, job.id, end | {"ended": time.time(), "told": False})
        run = self.workspace.run(job.id)
        if run.exists:
            run.update_status(**end)

    def _check_resumable(self, db: sqlite3.Connection, job: Job, run: RunDirectory) -> None:
        if not run.exists:
            raise BadInput(Problem("job", f"the folder of {job.id!r} is gone; clone another job or launch a new one"))
        # A study that is done may be extended; its controller then finds more to do.
        again = job.state.resumable or (job.is_controller and job.state is State.FINISHED)
        if not again or works_now(run):
            raise BadInput(
                Problem("job", f"{job.id!r} is {_spoken(job)}; only a stopped, failed or lost job can be resumed")
            )
        if job.after is not None and select(db, job.after) is None:
            check_after(db, job.after)

    def _insert(
        self,
        db: sqlite3.Connection,
        run_id: str,
        labels: JobLabels,
        state: State,
        *,
        owner: str | None = None,
        submitted: float | None = None,
        **values: Any,
    ) -> None:
        row = {field.name: getattr(labels, field.name) for field in fields(labels)} | values
        row |= {"id": run_id, "state": state, "owner": owner or user_name(), "position": last_position(db) + 1}
        row |= {"submitted": time.time() if submitted is None else submitted}
        columns = ", ".join(row)
        db.execute(f"INSERT INTO jobs ({columns}) VALUES ({', '.join('?' * len(row))})", list(row.values()))

    @contextmanager
    def _all_or_nothing(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _spoken(job: Job) -> str:
    """The state in words; an ended job that is asked about is alive again only because a shell resumed it."""
    return "running again, started from a shell" if job.state.resumable else str(job.state)


def _queue_anew(db: sqlite3.Connection, job: Job, run: RunDirectory, retries: int) -> None:
    changes = {"state": State.QUEUED, "position": last_position(db) + 1, "told": False, "retries": retries}
    update_row(db, job.id, _CLEAN_ROW | changes)
    run.update_status(**_CLEAN_STATUS | {"state": State.QUEUED})
