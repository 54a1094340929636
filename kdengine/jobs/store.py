"""The queue in SQLite. Pages and the shell read it and write requests; the supervisor moves jobs from state to state.

Every change is one short transaction that takes the write lock first (BEGIN IMMEDIATE), so that two writers never act
on the same old row. A connection lives for one call: nothing is shared between threads, nothing survives a fork.
"""

from __future__ import annotations

import json
import logging
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

from kdengine import files
from kdengine.errors import BadInput, DamagedFile, DiskFull, KdError, Problem
from kdengine.jobs.failures import PRUNED, Failure, left_behind
from kdengine.jobs.job import ACTIVE, ENDED, UNENDED, Job, JobLabels, labels_of_spec
from kdengine.rundir import RunDirectory, home_path, same_home, user_name, works_for
from kdengine.states import State
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)

SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 10.0
# A shell's trainer makes its folder a moment before it writes who it is.
YOUNG_S = 60.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, kind TEXT NOT NULL, dataset TEXT NOT NULL,
    method TEXT NOT NULL, student TEXT NOT NULL, teacher TEXT NOT NULL, owner TEXT NOT NULL, fingerprint TEXT NOT NULL,
    position REAL NOT NULL, after TEXT, slot TEXT, device TEXT,
    pid INTEGER, create_time REAL, boot_id TEXT, workspace TEXT, start_token TEXT,
    submitted REAL NOT NULL, started REAL, ended REAL,
    exit_code INTEGER, reason TEXT, message TEXT, advice TEXT,
    request TEXT, stopping_since REAL,
    attempt INTEGER NOT NULL DEFAULT 0, retries INTEGER NOT NULL DEFAULT 0, told INTEGER NOT NULL DEFAULT 0,
    token TEXT UNIQUE, note TEXT NOT NULL DEFAULT '', tags TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, position);
"""

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
        self._ready = False

    # reading -------------------------------------------------------------------------------------------------------

    def jobs(self, states: Iterable[State] | None = None, limit: int | None = None) -> list[Job]:
        """Jobs in the order of the table: running, queued in queue order, ended (newest first)."""
        if not self.workspace.jobs_db.exists():
            return []
        where, values = ("", []) if states is None else _any_of(states)
        query = f"SELECT * FROM jobs {where} {_TABLE_ORDER} LIMIT ?"
        with self._connect() as db:
            return [Job.from_row(row) for row in db.execute(query, [*values, -1 if limit is None else limit])]

    def find(self, job_id: str) -> Job | None:
        """The job of that id, None when there is none."""
        if not self.workspace.jobs_db.exists():
            return None
        with self._connect() as db:
            return _select(db, job_id)

    def get(self, job_id: str) -> Job:
        """The job of that id; raises BadInput when there is none."""
        return _known(self.find(job_id), job_id)

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
            if token is not None and (earlier := _select(db, token, "token")):
                return earlier
            _check_after(db, after)
            if _select(db, run_id) or (run.path.exists() and not run.half_made):
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
        told, values = False, {}
        if state.ended:
            told, values = True, _outcome_values(run, status)
        elif known and not same_home(known.get("workspace"), run.home):
            state, values = State.LOST, left_behind(home_path(known["workspace"]))._asdict()
        elif known:
            values = identity_values(known)
            state = state if state in ACTIVE else State.STARTING
        elif (time.time() if now is None else now) - _age_mark(run) < YOUNG_S:
            return None
        else:
            state = State.LOST
            values = {"reason": "lost", "message": "it was never started", "advice": "Resume it, or delete it."}
        labels = labels_of_spec(_spec_text(run), run.id)
        with self._write() as db:
            existing = _select(db, run.id)
            if existing is None and run.exists:  # it may have been deleted since it was listed
                submitted = status.get("created") or _age_mark(run)
                self._insert(db, run.id, labels, state, submitted=submitted, told=told, **values)
                existing = _select(db, run.id)
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
            job = _known(_select(db, job_id), job_id)
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
            job = _known(_select(db, job_id), job_id)
            run = self.workspace.run(job.id)
            self._check_resumable(db, job, run)
            _queue_anew(db, job, run, retries=0)
        return self.get(job_id)

    def retry(self, job_id: str) -> Job | None:
        """Queues a job whose process has died again, in one step: nobody sees it ended, and no crash leaves it so.

        Returns None, and does nothing, when the job is not under way, is asked to end, or its folder is gone.
        """
        with self._write() as db:
            job, run = _select(db, job_id), self.workspace.run(job_id)
            if job is None or job.state not in ACTIVE or job.request or not run.exists:
                return None
            _queue_anew(db, job, run, retries=job.retries + 1)
            return _select(db, job_id)

    def dependents(self, job_id: str) -> list[str]:
        """Ids of the runs that a run has taught or is to teach, finished ones among them: what a person wants to know
        before it is deleted. They keep their results, and what was known of their teacher (``teacher_deleted``)."""
        waiting = {job.id for job in self.jobs() if job.after == job_id}
        runs = [run for run in self.workspace.list_runs() if run.id != job_id]
        return [run.id for run in runs if run.id in waiting or run.status().get("teacher_run") == job_id]

    def delete(self, job_id: str) -> None:
        """Removes the row and the folder; the runs it has taught note what was known of it.

        Raises:
            BadInput: it is alive or queued, another job waits for it, or a run that can be resumed is taught by it.
        """
        run = self.workspace.run(job_id)
        trash = run.path.with_name(f".trash-{run.id}-{secrets.token_hex(4)}")
        with self._write() as db:
            job = _known(_select(db, job_id), job_id)
            if not job.state.ended or works_now(run):
                raise BadInput(Problem("job", f"{job_id!r} is {_spoken(job)}; stop it first, then delete it"))
            where, values = _any_of(UNENDED)
            waiting = [row["id"] for row in db.execute(f"SELECT id FROM jobs {where} AND after = ?", [*values, job_id])]
            if waiting:
                raise BadInput(Problem("job", f"{', '.join(waiting)} waits for {job_id!r}; cancel that first"))
            taught = taught_by(self.workspace, job_id)
            if taught:
                message = f"{', '.join(taught)} can be resumed and is taught by {job_id!r}; delete that first"
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
            queue = _queue(db)
            if job_id not in queue:
                job = _known(_select(db, job_id), job_id)
                raise BadInput(Problem("job", f"{job_id!r} is {job.state}; only a queued job can be moved"))
            old = queue.index(job_id)
            places = {"up": max(0, old - 1), "down": old + 1, "top": 0, "bottom": len(queue)}
            if where not in places:
                raise BadInput(Problem("where", f"cannot move {where!r}; choose up, down, top or bottom"))
            queue.remove(job_id)
            queue.insert(places[where], job_id)
            _write_order(db, queue)

    def reorder(self, job_ids: Sequence[str]) -> None:
        """Puts the named queued jobs first, in this order; the others follow as they were.

        A job that has left the queue since the page was drawn is passed over; an unknown one raises BadInput.
        """
        with self._write() as db:
            for job_id in job_ids:
                _known(_select(db, job_id), job_id)
            queue = _queue(db)
            first = [job_id for job_id in dict.fromkeys(job_ids) if job_id in queue]
            _write_order(db, first + [job_id for job_id in queue if job_id not in first])

    def annotate(self, job_id: str, *, note: str | None = None, tags: Iterable[str] | None = None) -> Job:
        """Sets a person's note and tags; what is None stays."""
        changes: dict[str, Any] = {} if note is None else {"note": note}
        if tags is not None:
            changes["tags"] = tuple(dict.fromkeys(tags))
        with self._write() as db:
            _known(_select(db, job_id), job_id)
            _update(db, job_id, changes)
        return self.get(job_id)

    # for the supervisor --------------------------------------------------------------------------------------------

    def change(self, job_id: str, expected: Iterable[State], **changes: Any) -> Job | None:
        """Compare and set: writes ``changes`` when the job is in one of the ``expected`` states, else returns None."""
        with self._write() as db:
            job = _select(db, job_id)
            if job is None or job.state not in set(expected):
                return None
            _update(db, job_id, changes)
            return _select(db, job_id)

    def mend_status(self, job_id: str) -> None:
        """Writes the end of a job into its status.json, where a crash had kept that from being written."""
        with self._write() as db:  # holding the lock, nobody resumes it meanwhile
            job = _select(db, job_id)
            run = self.workspace.run(job_id)
            if job and job.state.ended and run.exists:
                written = run.state()
                if written is None or not written.ended:
                    run.update_status(**end_status(job))

    def untold(self) -> list[Job]:
        """Ended jobs whose end has not been announced yet."""
        if not self.workspace.jobs_db.exists():
            return []
        where, values = _any_of(ENDED)
        with self._connect() as db:
            return [Job.from_row(row) for row in db.execute(f"SELECT * FROM jobs {where} AND told = 0", values)]

    def sweep_trash(self) -> None:
        """Removes folders of deleted runs that a crash left half removed."""
        for trash in self.workspace.runs.glob(".trash-*"):
            shutil.rmtree(trash, ignore_errors=True)

    # inside --------------------------------------------------------------------------------------------------------

    def _request(self, job_id: str, request: str) -> Job:
        with self._write() as db:
            job = _known(_select(db, job_id), job_id)
            if job.state.ended:
                raise BadInput(Problem("job", f"{job_id!r} has ended already ({job.state}); there is nothing to stop"))
            if job.state is State.QUEUED:
                self._cancel(db, job, PRUNED if request == "prune" else CANCELLED)
            elif job.request != "kill":  # a stop after a kill would only soften it
                _update(db, job_id, {"request": request})
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
        _update(db, job.id, end | {"ended": time.time(), "told": False})
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
        if job.after is not None and _select(db, job.after) is None:
            _check_after(db, job.after)

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
        row |= {"id": run_id, "state": state, "owner": owner or user_name(), "position": _last_position(db) + 1}
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

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with self._database_errors():
            self._prepare()
            db = self._open()
            try:
                yield db
            finally:
                db.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock; rolled back when anything inside raises."""
        with self._connect() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                if db.in_transaction:
                    db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.workspace.jobs_db, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous = FULL")
        return db

    def _prepare(self) -> None:
        """Makes the database once; under a lock, because switching to WAL does not wait for a busy database."""
        if self._ready and self.workspace.jobs_db.exists():
            return
        if self._ready and not self.workspace.root.is_dir():
            raise KdError(f"the workspace {self.workspace.root} is gone: it was moved or deleted while it was in use")
        with files.disk_errors(self.workspace.jobs_db), files.lock(self.workspace.root / ".jobs.lock"):
            db = self._open()
            try:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version > SCHEMA_VERSION:
                    raise KdError(
                        f"{self.workspace.jobs_db} was written by a newer version (schema {version}, this one knows "
                        f"{SCHEMA_VERSION}); update this program or choose another KD_HOME"
                    )
                if version < SCHEMA_VERSION:
                    db.execute("PRAGMA journal_mode = WAL")
                    db.executescript(_SCHEMA)
                    _add_missing_columns(db)
                    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            finally:
                db.close()
        self._ready = True

    @contextmanager
    def _database_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            database = self.workspace.jobs_db
            if "full" in str(error) or ("disk I/O" in str(error) and files.is_full(database.parent)):
                raise DiskFull(f"no space is left on the disk that holds {database}") from error
            raise KdError(f"the job database {database} cannot be used ({error}); is KD_HOME writable?") from error
        except sqlite3.DatabaseError as error:
            raise KdError(
                f"the job database {self.workspace.jobs_db} cannot be read ({error}); move it aside: the runs "
                "themselves are in their folders and are listed again"
            ) from error


def works_now(run: RunDirectory, status: Mapping[str, Any] | None = None) -> bool:
    """Whether a process is at work on the run, here. A notebook that lives on after its run is not.

    Args:
        run: the run.
        status: its status, where that was read already.
    """
    status = run.status() if status is None else status
    state = status.get("state")
    return not (state and State(state).ended) and works_for(status.get("process") or {}, run.home)


def taught_by(workspace: Workspace, run_id: str) -> list[str]:
    """Runs that still need the network of a run as their teacher: those under way, and those that can be resumed."""
    needing = UNENDED | {state for state in State if state.resumable}
    found = ((run.id, run.status()) for run in workspace.list_runs() if run.id != run_id)
    return [name for name, status in found if status.get("teacher_run") == run_id and status.get("state") in needing]


def identity_values(identity: dict[str, Any]) -> dict[str, Any]:
    """The columns that name a process, from what ``rundir.process_identity`` returned."""
    return {key: identity.get(key) for key in ("pid", "create_time", "boot_id", "workspace")}


def end_status(job: Job) -> dict[str, Any]:
    """What status.json says of a job that has ended."""
    return {key: getattr(job, key) for key in ("state", "reason", "message", "advice", "exit_code")}


def _outcome_values(run: RunDirectory, status: dict[str, Any]) -> dict[str, Any]:
    values = {key: status.get(key) for key in ("reason", "message", "advice", "exit_code")}
    return values | {"ended": _written_at(run.status_file), "attempt": status.get("attempt") or 0}


def _age_mark(run: RunDirectory) -> float:
    return _written_at(run.spec_file)


def _written_at(path: Path) -> float:
    """When a file was written; now, when it has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _spec_text(run: RunDirectory) -> str:
    """For its labels alone: a run with a damaged spec is listed without any."""
    try:
        return run.spec_text()
    except (FileNotFoundError, DamagedFile):
        return ""


def _add_missing_columns(db: sqlite3.Connection) -> None:
    """What a table of version 1 lacks."""
    known = {row["name"] for row in db.execute("PRAGMA table_info(jobs)")}
    if "workspace" not in known:
        db.execute("ALTER TABLE jobs ADD COLUMN workspace TEXT")


def _select(db: sqlite3.Connection, value: str, column: str = "id") -> Job | None:
    row = db.execute(f"SELECT * FROM jobs WHERE {column} = ?", [value]).fetchone()
    return Job.from_row(row) if row else None


def _known(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise BadInput(Problem("job", f"there is no job {job_id!r}; `kd jobs` lists all"))
    return job


def _spoken(job: Job) -> str:
    """The state in words; an ended job that is asked about is alive again only because a shell resumed it."""
    return "running again, started from a shell" if job.state.resumable else str(job.state)


def _queue_anew(db: sqlite3.Connection, job: Job, run: RunDirectory, retries: int) -> None:
    changes = {"state": State.QUEUED, "position": _last_position(db) + 1, "told": False, "retries": retries}
    _update(db, job.id, _CLEAN_ROW | changes)
    run.update_status(**_CLEAN_STATUS | {"state": State.QUEUED})


def _update(db: sqlite3.Connection, job_id: str, changes: dict[str, Any]) -> None:
    if not changes:
        return
    if "tags" in changes:
        changes = changes | {"tags": json.dumps(list(changes["tags"]))}
    names = ", ".join(f"{name} = ?" for name in changes)
    db.execute(f"UPDATE jobs SET {names} WHERE id = ?", [*changes.values(), job_id])


def _any_of(states: Iterable[State]) -> tuple[str, list[Any]]:
    values: list[Any] = [str(state) for state in states]
    return f"WHERE state IN ({', '.join('?' * len(values))})", values


def _queue(db: sqlite3.Connection) -> list[str]:
    return [row["id"] for row in db.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY position")]


def _write_order(db: sqlite3.Connection, queue: list[str]) -> None:
    for position, job_id in enumerate(queue):
        db.execute("UPDATE jobs SET position = ? WHERE id = ?", [position, job_id])


def _last_position(db: sqlite3.Connection) -> float:
    return db.execute("SELECT COALESCE(MAX(position), 0) FROM jobs").fetchone()[0]


def _check_after(db: sqlite3.Connection, after: str | None) -> None:
    if after is None:
        return
    job = _select(db, after)
    if job is None:
        raise BadInput(Problem("after", f"there is no job {after!r} to wait for (was it deleted?)"))
    if job.state.ended and job.state is not State.FINISHED:
        raise BadInput(
            Problem("after", f"{after!r} is {job.state} and will not finish by itself; resume that one first")
        )
