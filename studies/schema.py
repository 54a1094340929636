"""Optuna's tables: one of an earlier Optuna is brought up to date where it is ours alone, a newer one is refused."""

from __future__ import annotations

import logging
import os
import sqlite3
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage

from kdengine.errors import KdError
from kdengine.jobs import JobStore
from kdengine.jobs.job import ACTIVE
from kdengine.workspace import Workspace, files, sqlite_url

log = logging.getLogger(__name__)


def opened(url: str, engine: dict[str, Any], workspace: Workspace | None = None) -> RDBStorage:
    """The database at a URL, with tables as this Optuna has them; they are made where there are none.

    Args:
        url: of the database.
        engine: options of SQLAlchemy's engine.
        workspace: whose own file it is, held under its lock; None for a server, which others may use at the same time.

    Raises:
        KdError: the tables are a newer Optuna's; or an older one's, and others use them.
    """
    storage = _connected(url, engine, skip_compatibility_check=True)
    there, ours = storage.get_current_version(), storage.get_head_version()
    if there == ours:
        return storage
    found = f"the studies are in tables of Optuna's schema {there}, this Optuna has {ours}"
    if there not in storage.get_all_versions():
        raise KdError(f"{found}: they are of a newer one; update optuna (pip install -U optuna)")
    if workspace is None:
        raise KdError(f"{found}; when nobody else uses them: optuna storage upgrade --storage URL")
    storage.engine.dispose()
    _bring_up(workspace, found)
    log.info("%s: they were brought up to date in %s", found, workspace.studies_db)
    return _connected(url, engine)


def _connected(url: str, engine: dict[str, Any], **options: Any) -> RDBStorage:
    """A storage that closes its connections when nobody holds it any more: Optuna leaves them to the collector."""
    storage = RDBStorage(url, engine_kwargs=engine, **options)
    weakref.finalize(storage, storage.engine.dispose)
    return storage


def _bring_up(workspace: Workspace, found: str) -> None:
    """On a copy that takes the place of the file when it is done: who is killed meanwhile leaves the file as it was."""
    at_work = [job.id for job in JobStore(workspace).jobs(ACTIVE) if job.is_controller and job.pid != os.getpid()]
    if at_work:
        raise KdError(f"{found}; they are brought up to date when no study is at work: kd jobs stop {at_work[0]}")
    with files.atomic_path(workspace.studies_db) as copy:
        _copy(workspace.studies_db, copy)
        storage = RDBStorage(sqlite_url(copy), skip_compatibility_check=True)
        storage.upgrade()
        storage.engine.dispose()


def _copy(database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
