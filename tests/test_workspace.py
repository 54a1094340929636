"""The workspace: found writable by any number of callers at once, and named when it is not writable."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kdengine.errors import BadInput
from kdengine.workspace import Workspace


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
