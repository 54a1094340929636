"""Formats of a workspace: a newer one is refused before anything is written, an older one is brought up to date."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import PATIENCE_S, tiny_spec

from kdengine import cli, run, tracking
from kdengine.comparison.plan import make_plan
from kdengine.comparison.stored_plans import save_plan
from kdengine.errors import BadInput
from kdengine.jobs import JobLabels, JobStore, ensure_supervisor
from kdengine.teachers import records
from kdengine.workspace import Workspace
from kdengine.workspace import format as workspace_format
from kdengine.workspace.format import FILE, Step, current, found
from studies import storage

COMMANDS = (
    *("train --method none", "resume x", "eval x", "compare", "compare x --methods kd --teacher resnet20", "inspect x"),
    "race x",
    *(
        "check --method none",
        "import --list",
        "predict x image.png",
        "export x",
        "jobs",
        "tag x paper",
        "disk",
        "list methods",
    ),
    *(
        "bench",
        "new-method mine",
        "sync",
        "doctor",
        "execute x",
        "supervise",
        "ui",
        "study",
        "study new x --ready dcad",
    ),
)
NEWER = 7_000


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace of a version that is to come, with one run."""
    workspace = Workspace(tmp_path / "home")
    workspace.run("x").create(tiny_spec().to_yaml(), "kd train")
    (workspace.root / FILE).write_text(json.dumps({"format": NEWER}))
    monkeypatch.setenv("KD_HOME", str(workspace.root))
    return workspace


def test_every_command_is_asked() -> None:
    asked = {words.split()[0] for words in COMMANDS}
    assert asked == {command.name for command in cli.BUILT_IN} | {"compare", "race", "study", "ui"}


@pytest.mark.parametrize("words", COMMANDS)
def test_a_newer_workspace_is_refused_by_every_command(
    words: str, newer: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(newer.root)
    assert cli.main(words.split()) == 2
    said = capsys.readouterr().err
    assert f"has format {NEWER}, this version of kdengine reads up to {current()}; update kdengine" in said
    assert tree(newer.root) == before


WRITERS: dict[str, Callable[[Workspace], object]] = {
    "run": lambda workspace: run(tiny_spec(), workspace=workspace),
    "resume": lambda workspace: run(tiny_spec(), run_id="x", workspace=workspace, resume=True),
    "submit": lambda workspace: JobStore(workspace).submit(
        tiny_spec().to_yaml(), run_id="y", command="", labels=JobLabels("y")
    ),
    "supervisor": ensure_supervisor,
    "mlflow": tracking.prepare,
    "comparison": lambda workspace: save_plan(make_plan("new", {}, [], [0]), workspace),
    "study": storage.connect,
    "teacher": lambda workspace: records.keep(
        workspace, records.Imported(Path("own"), "resnet20", {}, (), False, 8, (0,) * 3, (1,) * 3, "", ""), Path("none")
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_newer_workspace_is_refused_by_whatever_writes(name: str, newer: Workspace) -> None:
    before = tree(newer.root)
    with pytest.raises(BadInput, match=f"has format {NEWER}"):
        WRITERS[name](newer)
    assert tree(newer.root) == before


@pytest.mark.parametrize("content", ["", "\0\0\0", "[1]", '{"format": "one"}', '{"format": true}', "{}"])
def test_a_damaged_file_is_told(content: str, newer: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (newer.root / FILE).write_text(content)
    assert cli.main(["jobs"]) == 2
    told = capsys.readouterr().err
    assert f"{FILE} is damaged" in told and "Put back a copy" in told
    (newer.root / FILE).unlink()
    assert cli.main(["jobs"]) == 0 and found(newer.root) == current()


def test_a_folder_that_is_none_is_not_made_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setenv("KD_HOME", str(tmp_path))
    assert cli.main(["list", "recipes"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_new_workspace_has_the_present_format(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Workspace(tmp_path / "home").check_writable()
    assert found(tmp_path / "home") == current() and "brought from" not in caplog.text


# migrations ----------------------------------------------------------------------------------------------------------


def renamed(number: int) -> Step:
    """A step that renames every note of the format before; what is renamed already stays."""

    def apply(root: Path) -> None:
        for path in sorted(root.glob(f"runs/*/note.{number}")):
            path.rename(path.with_suffix(f".{number + 1}"))

    return Step(f"notes are renamed to {number + 1}", apply)


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of before formats were numbered, of a program that has come to format 3."""
    for name in "abc":
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "note.1").write_text(name)
    monkeypatch.setattr(workspace_format, "STEPS", (workspace_format.STEPS[0], renamed(1), renamed(2)))
    return tmp_path


def notes(root: Path) -> dict[str, str]:
    return {path.suffix: path.read_text() for path in root.glob("runs/a/note.*")}


def test_an_older_workspace_is_brought_up_to_date_step_by_step(older: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Workspace(older).settle()
    assert found(older) == 3 and notes(older) == {".3": "a"}
    told = [record.message.partition("brought ")[2] for record in caplog.records]
    assert told == [
        "from format 0 to 1: its format is noted down, nothing else changes",
        "from format 1 to 2: notes are renamed to 2",
        "from format 2 to 3: notes are renamed to 3",
    ]
    caplog.clear()
    before = tree(older)
    Workspace(older).settle()
    assert tree(older) == before and not caplog.records


def test_one_that_cannot_be_written_to_is_read_as_it_is(
    older: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    Workspace(older).settle()
    assert "cannot be written to; it is read as it is" in caplog.text and notes(older) == {".1": "a"}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from kdengine.workspace import format as workspace_format
from test_workspace_format import renamed
rename, left = Path.rename, [{after}]
def counted(self, target):
    if self.name.startswith("note"):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
    return rename(self, target)
Path.rename = counted
workspace_format.STEPS = (workspace_format.STEPS[0], renamed(1), renamed(2))
workspace_format.settle(Path(sys.argv[1]))
"""


@pytest.mark.processes
@pytest.mark.parametrize("after", range(6))
def test_who_is_killed_meanwhile_is_followed_by_one_who_goes_on(older: Path, after: int) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), after=after)
    done = subprocess.run([sys.executable, "-c", script, str(older)], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert found(older) == 1 + after // 3 and len(list(older.glob("runs/*/note.*"))) == 3
    Workspace(older).settle()
    assert found(older) == 3
    assert {path.name: path.read_text() for path in older.glob("runs/b/*")} == {"note.3": "b"}
    assert not list(older.rglob("*.tmp"))


def test_all_that_come_at_once_find_it_done_once(older: Path, caplog: pytest.LogCaptureFixture) -> None:
    from concurrent.futures import ThreadPoolExecutor

    caplog.set_level(logging.INFO)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: Workspace(older).settle(), range(24)))
    assert found(older) == 3 and len(caplog.records) == 3
