"""Writes ``workspace-VERSION.tar.xz`` beside it: a small workspace of the release whose code comes first on the path.

    git archive vVERSION | tar -x -C /somewhere/release
    PYTHONPATH=/somewhere/release:tests python tests/data/make_workspace.py VERSION

It holds, all of the network of tiniest.py: the finished runs ``teacher``, ``whole`` (taught by it) and ``by-spec``
(whose teacher was trained first); ``stopped``, which is ``whole`` stopped halfway; ``own``, an imported teacher, and
``by-import``, which it taught; the comparison ``side-by-side``, the study ``tuned``, the queue with all of these,
and MLflow's database. A workspace once written is kept as it is: a later release adds its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from plugin_packages import install

HERE = Path(__file__).parent
EXPERIMENT = (
    *("--dataset", "digits", "--student", "tiniest", "--epochs", "4", "--set", "data.image_size=8"),
    *("--set", "data.per_class=40", "--set", "recipe.batch_size=32", "--set", "recipe.ema=0.8"),
    *("--set", "runtime.threads=1", "--set", "runtime.device=cpu", "--set", "runtime.inspect=0"),
)
TAUGHT = (*EXPERIMENT, "--method", "kd", "--seed", "3")
STOP_AFTER_S = 3.0
LEFT_OUT = ("stores", "ui-", ".lock", "supervisor", "__pycache__")


def kd(home: Path, *words: str, **variables: str) -> None:
    """Runs a command to its end."""
    command = [sys.executable, "-m", "kdengine", "--home", str(home), *words]
    subprocess.run(command, env=os.environ | variables, check=True, cwd=home.parent)


def stop_halfway(home: Path) -> None:
    """Trains ``stopped`` and stops it when two of its four epochs are done."""
    command = [sys.executable, "-m", "kdengine", "--home", str(home), "train", *TAUGHT, "--teacher", "run:teacher"]
    child = subprocess.Popen([*command, "--run-id", "stopped"], env=os.environ | {"KD_TINIEST_PAUSE_S": "0.3"})
    events = home / "runs" / "stopped" / "events.jsonl"
    while not events.exists() or events.read_text().count('"kind": "epoch"') < 2:
        time.sleep(0.02)
    time.sleep(0.7)  # into the third
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130, "it was not stopped with a checkpoint"


def furnish(home: Path) -> None:
    """All that the workspace holds."""
    # Better than chance, or it is refused as a teacher.
    longer = ("--epochs", "12", "--set", "data.per_class=100", "--set", "recipe.ema=0")
    kd(home, "train", *EXPERIMENT, *longer, "--method", "none", "--run-id", "teacher")
    kd(home, "train", *TAUGHT, "--teacher", "run:teacher", "--run-id", "whole")
    stop_halfway(home)
    weights = home / "runs" / "teacher" / "student.safetensors"
    normal = ("--mean", "0.3,0.3,0.3", "--std", "0.4,0.4,0.4")
    kd(home, "import", "own", "--weights", str(weights), "--model", "tiniest", "--image-size", "8", *normal)
    kd(home, "train", *TAUGHT, "--teacher", "import:own", "--run-id", "by-import")
    kd(home, "train", *TAUGHT, "--teacher", "tiniest", "--run-id", "by-spec")
    kd(home, "compare", "side-by-side", "--methods", "kd,dkd", "--seeds", "1", *EXPERIMENT, "--teacher", "tiniest")
    study = ("--method", "kd", "--teacher", "run:teacher", "--tune", "method.temperature=1..8", "--sampler", "random")
    kd(home, "study", "new", "tuned", *EXPERIMENT, *study, "--pruner", "none", "--trials", "3")


def large(home: Path) -> set[Path]:
    """What more of the same would add nothing: tables but the first, checkpoints of finished runs but one."""
    tables = sorted((home / "cache" / "replay").iterdir(), key=lambda path: (path / "filled").stat().st_ino)
    checkpoints = home.glob("runs/*/checkpoints/last.pt")
    return {*tables[1:], *(path for path in checkpoints if path.parts[-3] not in ("whole", "stopped"))}


def main(version: str) -> int:
    """Makes the workspace and packs it."""
    with tempfile.TemporaryDirectory() as place:
        site, home = Path(place) / "site", Path(place) / "home"
        install(site, "tiniest", "kdengine.models", (HERE / "tiniest.py").read_text())
        os.environ["PYTHONPATH"] = os.pathsep.join([str(site), os.environ["PYTHONPATH"]])
        home.mkdir()
        furnish(home)
        for path in {*large(home), *(path for part in LEFT_OUT for path in home.rglob(f"*{part}*"))}:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        with tarfile.open(HERE / f"workspace-{version}.tar.xz", "w:xz", preset=9) as archive:
            archive.add(home, "home")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
