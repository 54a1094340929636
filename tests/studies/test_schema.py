"""Tables of another Optuna: older ones are brought up to date without losing a trial, newer ones are refused."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from mill import isolate
from optuna.storages import RDBStorage

from kdengine.errors import KdError
from kdengine.jobs import JobLabels, JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.states import State
from studies import storage

# What Optuna had before it: one index less, which its own step adds.
EARLIER = "v3.0.0.d"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a study of three trials in the tables of an earlier Optuna."""
    isolate(monkeypatch, tmp_path / "home")
    workspace = Workspace(tmp_path / "home")
    study = optuna.create_study(storage=storage.connect(workspace), study_name="old")
    study.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=3)
    set_schema(workspace, EARLIER)
    return workspace


def set_schema(workspace: Workspace, version: str) -> None:
    with closing(sqlite3.connect(workspace.studies_db)) as db:
        db.execute("UPDATE alembic_version SET version_num = ?", [version])
        db.commit()


def indexes(workspace: Workspace) -> set[str]:
    with closing(sqlite3.connect(workspace.studies_db)) as db:
        return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}


def trials(workspace: Workspace) -> int:
    return len(optuna.load_study(storage=storage.connect(workspace), study_name="old").trials)


def test_older_tables_are_brought_up_to_date_once(home: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = indexes(home)
    assert trials(home) == 3
    assert f"Optuna's schema {EARLIER}" in caplog.text and "brought up to date" in caplog.text
    assert indexes(home) - before, "Optuna's own step was not taken"
    caplog.clear()
    assert trials(home) == 3 and not caplog.records
    assert not list(home.root.glob(".studies.db*"))


def test_who_is_killed_meanwhile_leaves_them_as_they_were(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before, upgrade = home.studies_db.read_bytes(), RDBStorage.upgrade

    def killed(self: RDBStorage) -> None:
        upgrade(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RDBStorage, "upgrade", killed)
        with pytest.raises(KeyboardInterrupt):
            storage.connect(home)
    assert home.studies_db.read_bytes() == before
    assert trials(home) == 3


def test_they_wait_for_a_study_that_is_at_work(home: Workspace) -> None:
    store = JobStore(home)
    store.submit("kind: study", run_id="study-old", command="", labels=JobLabels("old", kind="study"))
    store.change("study-old", [State.QUEUED], state=State.RUNNING, pid=1)
    before = home.studies_db.read_bytes()
    with pytest.raises(KdError, match="kd jobs stop study-old"):
        storage.connect(home)
    assert home.studies_db.read_bytes() == before


def test_newer_tables_are_refused(home: Workspace) -> None:
    set_schema(home, "v99.0.0.a")
    before = home.studies_db.read_bytes()
    with pytest.raises(KdError, match=r"Optuna's schema v99\.0\.0\.a, .* of a newer one; update optuna"):
        storage.connect(home)
    assert home.studies_db.read_bytes() == before
