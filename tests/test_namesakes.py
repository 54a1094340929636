"""``app`` and ``studies`` are common names: those of this program are found, whatever a person calls their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from dashboard import Dashboard
from support import PATIENCE_S

from kdengine.workspace import Workspace

ROOT = Path(__file__).parents[1]
TRAP = "raise RuntimeError('a module of the working folder was taken for ours')\n"
WORKER = """
from kdengine import import_path
import_path.keep_ours_first()
from app.worker import Worker
if __name__ == "__main__":
    worker = Worker({home!r})
    print(worker.call("samples", {{"name": "digits"}})["classes"])
    worker.close()
"""

pytestmark = pytest.mark.processes


@pytest.fixture(params=["modules", "packages", "folders"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A working folder with namesakes of our packages: files, packages, or mere folders without ``__init__.py``."""
    place = tmp_path / "work"
    place.mkdir()
    for name in ("app", "studies"):
        if request.param == "modules":
            (place / f"{name}.py").write_text(TRAP)
            continue
        (place / name).mkdir()
        (place / name / ("notes.txt" if request.param == "folders" else "__init__.py")).write_text(TRAP)
    return place


SCRIPT = "import sys; from kdengine.cli import main; sys.exit(main())"
EDITABLE = f"""
import sys
from importlib.machinery import PathFinder
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{str(ROOT)!r}]) if name in ("kdengine", "app", "studies") else None
sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, Finder)
"""
DOORS = ("python -m", "an empty part in PYTHONPATH", "PYTHONPATH", "editable")


@pytest.fixture(params=DOORS)
def command(request: pytest.FixtureRequest, folder: Path) -> tuple[list[str], str]:
    """How kd is started, and the import path that is set for it."""
    if request.param == "python -m":
        return [sys.executable, "-m", "kdengine"], str(ROOT)
    if request.param == "editable":
        # As `pip install -e` leaves it: who finds our packages is asked last, after all of sys.path.
        return [sys.executable, "-c", EDITABLE + SCRIPT], ""
    # As a shell's `export PYTHONPATH=$PYTHONPATH:...` leaves it: the empty part names the working folder.
    own = "" if "empty" in request.param else folder
    return [sys.executable, "-P", "-c", SCRIPT], f"{own}{os.pathsep}{ROOT}"


def out(words: list[str], folder: Path, path: str, home: Path) -> str:
    environment = os.environ | {"PYTHONPATH": path, "KD_HOME": str(home)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0 and "could not be loaded" not in done.stderr, done.stderr
    return done.stdout


def test_commands_of_our_other_packages_are_ours(folder: Path, tmp_path: Path, command: tuple[list[str], str]) -> None:
    words, path = command
    home = tmp_path / "home"
    assert " ui " in (shown := out([*words, "--help"], folder, path, home)) and " study " in shown
    assert "dcad" in out([*words, "study", "new", "own", "--ready", "dcad", "--help"], folder, path, home)
    assert out([*words, "ui", "--list"], folder, path, home) == ""


def test_python_m_does_not_look_into_the_working_folder_first(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text(TRAP)
    assert "digits" in out([sys.executable, "-m", "kdengine", "list", "datasets"], tmp_path, str(ROOT), tmp_path)


def test_processes_of_a_pool_find_ours(folder: Path, workspace: Workspace) -> None:
    script = folder / "script.py"
    script.write_text(WORKER.format(home=str(workspace.root)))
    assert out([sys.executable, str(script)], folder, str(ROOT), workspace.root) == "10\n"


@pytest.mark.parametrize("folder", ["modules"], indirect=True)
def test_the_dashboard_with_mlflow_is_ours(folder: Path, workspace: Workspace) -> None:
    dashboard = Dashboard(workspace, "--mlflow", PYTHONPATH=f"{folder}{os.pathsep}{ROOT}")
    dashboard.folder = folder
    dashboard.start()
    try:
        with httpx.Client(base_url=dashboard.url, headers=dashboard.key, follow_redirects=True) as visitor:
            assert visitor.get("/runs").status_code == 200
            deadline = time.monotonic() + PATIENCE_S
            while (page := visitor.get("/mlflow/")).status_code != 200 and time.monotonic() < deadline:
                time.sleep(0.2)
            assert "<title>MLflow</title>" in page.text
    finally:
        dashboard.close()
