"""The engine trains with its own packages alone; what needs more says what to install."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support import PATIENCE_S

from kdengine.extras import EXTRAS, missing

ROOT = Path(__file__).parents[1]
# As where nothing of the extras is installed.
ALONE = f"""
import sys
for name in {[package for packages in EXTRAS.values() for package in packages]!r}:
    sys.modules[name] = None
from kdengine.cli import main
sys.exit(main(sys.argv[1:]))
"""
TRAIN = (
    "train --dataset digits --student resnet8x4 --method none --set data.per_class=10 --set recipe.epochs=1 "
    "--set runtime.inspect=1 --run-id alone"
)


def kd(home: Path, words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, "--home", str(home), *words.split()]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=home)


@pytest.mark.processes
def test_it_trains_lists_and_exports_without_any_extra(tmp_path: Path) -> None:
    for words in (TRAIN, "list methods", "doctor", "predict alone --help", "export alone --out weights"):
        done = kd(tmp_path, words)
        assert done.returncode == 0, (words, done.stderr)
    assert (tmp_path / "weights" / "model.safetensors").is_file()
    for words, package, extra in (
        ("ui", "uvicorn", "ui"),
        ("study show nothing", "optuna", "studies"),
        ("export alone --format onnx --out net", "onnx", "export"),
    ):
        done = kd(tmp_path, words)
        assert done.returncode == 2, (words, done.stderr)
        assert f"found no package {package}" in done.stderr and f"pip install 'kdengine[{extra}]'" in done.stderr
    assert not (tmp_path / "net").exists()


def test_the_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        assert set(packages) <= {Requirement(line).name for line in declared[extra]}
    assert {Requirement(line).name for line in declared["all"]} == {"kdengine"}
    assert Requirement(declared["all"][0]).extras == set(EXTRAS)


def test_what_is_no_extra_of_ours_is_a_fault_and_stays_one() -> None:
    assert missing("nonsense") is None and missing("onnx.helper") is not None
