"""A full disk: one sentence and exit code 3, nothing half written, and no run that is called running for ever."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdengine.commands.console import training
from kdengine.errors import DiskFull
from kdengine.workspace.files import atomic_path
from kdengine.workspace.rundir import RunDirectory

HERE = Path(__file__).parent
# Mounted in a name space of its own: it goes with the process, and needs no rights.
ON_A_SMALL_DISK = 'mount -t tmpfs -o size=24m tmpfs "$1" && exec "$2" "$3" "$1" "$4"'
FULL = "no space is left on the disk"


def test_a_full_disk_is_said_once_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    disk, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    disk.mkdir()
    elsewhere.mkdir()
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a disk of their own")
    words = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        ON_A_SMALL_DISK,
        "sh",
        disk,
        sys.executable,
        HERE / "full_disk.py",
        elsewhere,
    ]
    places = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": places}, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    trained = found["train"]
    assert trained["code"] == 3 and "Traceback" not in trained["err"], trained["err"]
    assert f"kd: {FULL}" in trained["err"] and trained["left"] == [] and trained["events"] > 0
    assert found["seen as"] in ("failed", "lost") and "running" not in found["listed"]
    assert found["store"].startswith(f"DiskFull: {FULL}") and found["stores"] == 1
    assert found["launch"].startswith(f"DiskFull: {FULL}") and found["runs"] == ["queued", "run"]
    assert FULL in found["upload"]["said"] and "delete old runs" in found["upload"]["said"]
    assert found["upload"]["left"] == []
    assert found["download"]["said"].startswith(f"DiskFull: {FULL}") and not found["download"]["kept as if whole"]
    assert found["download"]["again"] == "done"
    study = found["study"]
    assert study["begin"].startswith(f"DiskFull: {FULL}") and study["again"] == "done"
    assert study["plans"] == ["early", "late"]
    assert study["code"] == 3 and FULL in study["control"] and "Traceback" not in study["control"], study["control"]


def test_a_log_that_cannot_be_written_does_not_hide_what_ended_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(tmp_path / "runs" / "a")
    run.create("data: {name: digits}\n", "kd train")
    run.log_file.symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="the real reason"), training(run):
        for _ in range(3):
            logging.getLogger("kdengine").warning("a line")
        raise DiskFull("the real reason")
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 1 and "Traceback" not in said


def test_a_library_that_cannot_write_its_file_has_met_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="file write failed"), atomic_path(tmp_path / "a"):
        raise RuntimeError("file write failed")
    monkeypatch.setattr("kdengine.workspace.files.NO_ROOM", 1 << 62)
    with pytest.raises(DiskFull, match=FULL), atomic_path(tmp_path / "a"):
        raise RuntimeError("file write failed")
    assert list(tmp_path.iterdir()) == []
