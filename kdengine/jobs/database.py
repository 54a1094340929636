"""The database of the queue: its table, its connections, its rows.

Every change is one short transaction that takes the write lock first (BEGIN IMMEDIATE), so that two writers never act
on the same old row. A connection lives for one call: nothing is shared between threads, nothing survives a fork.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kdengine.errors import BadInput, DiskFull, KdError, Problem
from kdengine.jobs.job import Job
from kdengine.workspace import Workspace, files
from kdengine.workspace.states import State

SCHEMA_VERSION = 2
BUSY_TIMEOUT_S = 10.0
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


class JobDatabase:
    """Connections to ``jobs.db``, which is made, or brought up to date, when the first one is asked for.

    Raises:
        DiskFull, KdError: what is wrong with the database, in words.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._ready = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for the life of one call."""
        with self._database_errors():
            self._prepare()
            db = self._open()
            try:
                yield db
            finally:
                db.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock; rolled back when anything inside raises."""
        with self.reading() as db:
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
        self.workspace.settle(new=True)
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


def _add_missing_columns(db: sqlite3.Connection) -> None:
    """What a table of version 1 lacks."""
    known = {row["name"] for row in db.execute("PRAGMA table_info(jobs)")}
    if "workspace" not in known:
        db.execute("ALTER TABLE jobs ADD COLUMN workspace TEXT")


def select(db: sqlite3.Connection, value: str, column: str = "id") -> Job | None:
    """The job with that value in a column, None when there is none."""
    row = db.execute(f"SELECT * FROM jobs WHERE {column} = ?", [value]).fetchone()
    return Job.from_row(row) if row else None


def known_job(job: Job | None, job_id: str) -> Job:
    """The job; raises BadInput for None."""
    if job is None:
        raise BadInput(Problem("job", f"there is no job {job_id!r}; `kd jobs` lists all"))
    return job


def update_row(db: sqlite3.Connection, job_id: str, changes: dict[str, Any]) -> None:
    """Writes changes to the row of a job."""
    if not changes:
        return
    if "tags" in changes:
        changes = changes | {"tags": json.dumps(list(changes["tags"]))}
    names = ", ".join(f"{name} = ?" for name in changes)
    db.execute(f"UPDATE jobs SET {names} WHERE id = ?", [*changes.values(), job_id])


def any_of(states: Iterable[State]) -> tuple[str, list[Any]]:
    """A condition on the state, and the values for its marks."""
    values: list[Any] = [str(state) for state in states]
    return f"WHERE state IN ({', '.join('?' * len(values))})", values
