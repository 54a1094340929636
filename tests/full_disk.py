"""Run with a folder on a small disk of its own: what a run, a decoded data set and a launch do when that is full.

Prints, as JSON, how each ended. ``tests/test_full_disk.py`` makes the disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from support import last_step, start_kd, tiny_spec, wait_for

from kdengine import runner
from kdengine.data import load_dataset
from kdengine.errors import KdError
from kdengine.jobs import JobStore, as_it_is
from kdengine.launch import submit
from kdengine.workspace import Workspace


def fill(disk: Path) -> None:
    """Takes every free page of the disk, in its root."""
    with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def told(work: Any) -> str:
    try:
        work()
    except KdError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def train(workspace: Workspace, disk: Path) -> dict[str, Any]:
    run = runner.create(tiny_spec(recipe={"epochs": 500}), workspace, "run")
    process = start_kd(workspace, "resume", "run")
    wait_for(lambda: last_step(run) >= 8, process)
    fill(disk)
    _, err = process.communicate()
    events = [json.loads(line) for line in run.events_file.read_bytes().splitlines()]
    return {
        "code": process.returncode, "err": err.decode(), "events": len(events),
        "left": [path.name for path in run.path.rglob("*.tmp")],
    }  # fmt: skip


def main(disk: Path) -> None:
    workspace = Workspace(disk / "home")
    store = JobStore(workspace)
    workspace.check_writable()
    load_dataset("digits", workspace.datasets, 16, cache=workspace.cache)
    submit(tiny_spec(), workspace, run_id="queued")
    found: dict[str, Any] = {"train": train(workspace, disk)}
    fill(disk)
    found["store"] = told(lambda: load_dataset("digits", workspace.datasets, 32, cache=workspace.cache))
    found["stores"] = len([path for path in (workspace.cache / "stores").iterdir() if path.is_dir()])
    found["launch"] = told(lambda: submit(tiny_spec(), workspace, run_id="late"))
    found["runs"] = sorted(path.name for path in workspace.runs.iterdir())
    (disk / "filler").unlink()
    job = store.find("run") or store.adopt(workspace.run("run"))
    assert job is not None
    found["seen as"] = as_it_is(job, workspace.run("run").status(), workspace.root).state
    found["listed"] = subprocess.run(
        [sys.executable, "-m", "kdengine", "--home", str(workspace.root), "jobs"], capture_output=True, text=True,
        env=dict(os.environ), check=False,
    ).stdout  # fmt: skip
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
