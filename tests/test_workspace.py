"""The workspace: found writable by any number of callers at once, and named when it is not writable."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from kdengine.errors import BadInput
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import new_run_id


def test_many_callers_find_it_writable_at_once_and_nothing_is_left(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(workspace.check_writable) for _ in range(400)]:
            done.result()
    assert {path.name for path in workspace.root.iterdir()} == {"format.json", ".format.lock"}


def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"KD_HOME: the workspace .*file/home cannot be written to \(Not a directory\)"):
        Workspace(tmp_path / "file" / "home").check_writable()


def test_an_id_that_is_taken_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four digits: of a hundred runs that are queued in one second two would often be called alike."""
    drawn = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("kdengine.workspace.rundir.secrets.token_hex", lambda count: next(drawn))

    class Still(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Still:
            return cls(2026, 1, 2, 3, 4, 5)

    monkeypatch.setattr("kdengine.workspace.rundir.datetime", Still)
    first = new_run_id("kd", tmp_path)
    (tmp_path / first).mkdir()
    assert (first, new_run_id("kd", tmp_path)) == ("20260102-030405-kd-aaaa", "20260102-030405-kd-bbbb")
