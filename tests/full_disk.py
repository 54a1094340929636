"""Run with a folder on a small disk of its own: what the program does when that is full.

A run, a decoded data set, a launch, an upload, a download and a study.

Prints, as JSON, how each ended. ``tests/test_full_disk.py`` makes the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from archives import as_zip, image_files
from support import last_step, start_kd, tiny_spec, wait_for

from kdengine import assembly, runner
from kdengine.assembly.launch import submit
from kdengine.data import load_dataset
from kdengine.data.sources.download import RemoteFile, fetch
from kdengine.data.sources.uploads import keep_upload
from kdengine.errors import KdError
from kdengine.jobs import JobStore, as_it_is
from kdengine.workspace import Workspace, files
from studies import actions as control
from studies.plan import read


def fill(disk: Path, leaving: int = 0) -> None:
    """Takes every free page of the disk, in its root; or all but some bytes."""
    with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(disk).free > leaving and file.write(bytes(4096)):
            pass


def free(disk: Path) -> None:
    (disk / "filler").unlink()


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


def upload(workspace: Workspace, elsewhere: Path) -> dict[str, Any]:
    """An archive that is larger than what is left."""
    archive = as_zip(elsewhere / "mine.zip", image_files({"cat": 12, "dog": 12}))
    own = workspace.datasets / "own"
    said = told(lambda: keep_upload(own, archive, "mine.zip"))
    left = [path.name for path in own.glob("*") if path.name != ".lock"] if own.exists() else []
    return {"said": said, "left": left}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of that folder's files; it answers each request whole, as the simplest ones do."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def download(workspace: Workspace, disk: Path, elsewhere: Path) -> dict[str, Any]:
    """A published file of which half fits; once there is room, it comes whole."""
    published = elsewhere / "set.bin"
    published.write_bytes(os.urandom(2_000_000))
    with served(elsewhere) as address:
        remote = RemoteFile(f"{address}/set.bin", files.digest(published, "md5"), size=2_000_000)
        free(disk)
        fill(disk, leaving=1_000_000)
        said = told(lambda: fetch(remote, workspace.datasets))
        whole = remote.is_here(workspace.datasets)
        free(disk)
        again = told(lambda: fetch(remote, workspace.datasets))
    return {"said": said, "kept as if whole": whole, "again": again}


def study(workspace: Workspace, disk: Path) -> dict[str, Any]:
    """A study that is begun on a full disk, and one on which it fills up: both go on when there is room."""
    assembly.preflight = lambda spec, workspace: None  # which wants more room than all of this disk
    experiment = {"data": "digits", "student": "resnet20", "method": "byot", "recipe": {"epochs": 1}}
    mapping = {"experiment": experiment, "space": {"method.alpha": ""}, "budget": {"trials": 2}}
    late, early = (read(mapping | {"name": name}) for name in ("late", "early"))
    control.begin(early, workspace)
    fill(disk)
    found = {"begin": told(lambda: control.begin(late, workspace))}
    words = [sys.executable, "-m", "kdengine", "--home", str(workspace.root), "study", "control", early.job_id]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found |= {"control": done.stderr, "code": done.returncode}
    free(disk)
    found["again"] = told(lambda: control.begin(late, workspace))
    found["plans"] = sorted(view.plan.name for view in control.views(workspace))
    return found


def main(disk: Path, elsewhere: Path) -> None:
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
    found["upload"] = upload(workspace, elsewhere)
    found["download"] = download(workspace, disk, elsewhere)
    found["study"] = study(workspace, disk)
    job = store.find("run") or store.adopt(workspace.run("run"))
    assert job is not None
    found["seen as"] = as_it_is(job, workspace.run("run").status(), workspace.root).state
    found["listed"] = subprocess.run(
        [sys.executable, "-m", "kdengine", "--home", str(workspace.root), "jobs"], capture_output=True, text=True,
        env=dict(os.environ), check=False,
    ).stdout  # fmt: skip
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
