"""What a dashboard leaves for its user, and for nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.server.serve import _entrance
from kdengine.cli import main
from kdengine.workspace import Workspace
from kdengine.workspace.dashboards import Record, at_work


def test_only_its_user_can_read_it(workspace: Workspace) -> None:
    record = Record(workspace, 7860)
    record.write(address="http://127.0.0.1:7860/?token=t")
    door = record.write_door("http://127.0.0.1:7860/?token=t")
    assert [path.stat().st_mode & 0o777 for path in (record.path, door)] == [0o600, 0o600]
    assert "url=http://127.0.0.1:7860/?token=t" in door.read_text()
    record.remove()
    assert not record.path.exists() and not door.exists()


def test_one_that_others_could_have_written_or_read_is_not_believed(workspace: Workspace, tmp_path: Path) -> None:
    record = Record(workspace, 7860)
    record.write(token="known-to-the-other-one")
    record.path.chmod(0o644)
    assert record.read() == {}
    elsewhere = tmp_path / "elsewhere.json"
    record.path.chmod(0o600)
    record.path.rename(elsewhere)
    record.path.symlink_to(elsewhere)
    assert record.read() == {}
    record.path.unlink()
    for broken in ("", "[]", "{"):
        record.path.write_text(broken)
        record.path.chmod(0o600)
        assert record.read() == {}


def test_the_record_of_another_process_stays(workspace: Workspace) -> None:
    record = Record(workspace, 7860)
    record.write(token="a")
    content = json.loads(record.path.read_text())
    content["process"]["create_time"] += 100
    record.path.write_text(json.dumps(content))
    assert at_work(workspace) == []
    record.remove()
    assert record.path.exists()


def test_the_list_says_where_running_dashboards_are(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["ui", "--list"]) == 0
    assert "none of your dashboards runs" in capsys.readouterr().err
    Record(workspace, 7860).write(address="http://127.0.0.1:7860/?token=t")
    assert main(["ui", "--list"]) == 0
    assert capsys.readouterr().out == "http://127.0.0.1:7860/?token=t\n"


def test_a_server_that_comes_back_has_the_token_and_the_sessions_of_before(workspace: Workspace) -> None:
    record = Record(workspace, 7860)
    first = _entrance(record, "127.0.0.1", 7860, None, None)
    here, there = first.sessions.begin(), first.sessions.begin()
    first.sessions.end(there)
    again = _entrance(record, "127.0.0.1", 7860, None, None)
    assert again.token == first.token and len(str(first.token)) > 30
    assert again.sessions.is_open(here) and not again.sessions.is_open(there)
    assert _entrance(Record(workspace, 7861), "127.0.0.1", 7861, None, None).token != first.token
    record.remove()
    assert not _entrance(record, "127.0.0.1", 7860, None, None).sessions.is_open(here)


def test_with_a_password_there_is_no_token_but_a_given_one(workspace: Workspace) -> None:
    record = Record(workspace, 7860)
    assert _entrance(record, "0.0.0.0", 7860, None, "a long password").token is None
    assert record.read()["address"] == "http://127.0.0.1:7860"
    assert "password" not in record.path.read_text()
    assert _entrance(record, "::", 7860, "a-token-that-was-given", "a long password").token == "a-token-that-was-given"
    assert record.read()["address"] == "http://[::1]:7860/?token=a-token-that-was-given"
