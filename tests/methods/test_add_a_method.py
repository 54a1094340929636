"""docs/add-a-method.md, done: its files are installed as a package, and the method is there and works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kdengine.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two files of the page, copied from it and installed by pip into a folder of their own."""
    source, site = tmp_path_factory.mktemp("trusting-kd"), tmp_path_factory.mktemp("site")
    page = (ROOT / "docs" / "add-a-method.md").read_text()
    for name, language in (("trusting_kd.py", "python"), ("pyproject.toml", "toml")):
        block = re.search(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        assert block, f"the page has no {language} block"
        (source / name).write_text(block[1])
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    return site


def shell(site: Path, *words: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_listed_and_trains(installed: Path, workspace: Workspace) -> None:
    assert "listens to the teacher where the teacher is right" in shell(installed, "kdengine", "list", "methods")
    words = [
        "train", "--dataset", "digits", "--teacher", "resnet20", "--student", "resnet20", "--method", "trusting_kd",
        "--epochs", "1", "--set", "data.per_class=10", "--set", "method.trust=2", "--set", "recipe.warmup_epochs=0",
    ]  # fmt: skip
    shell(installed, "kdengine", *words)
    run = next(run for run in workspace.list_runs() if "trusting_kd" in run.spec_file.read_text())
    assert run.status()["state"] == "finished"
    (epoch,) = run.events("epoch")
    assert epoch["terms"]["trusted"]["weighted"] == pytest.approx(2 * epoch["terms"]["trusted"]["raw"])


def test_the_suite_of_all_methods_runs_over_it_and_passes(installed: Path) -> None:
    suite = "tests/methods/test_all_methods.py"
    told = shell(installed, "pytest", "-p", "no:cacheprovider", suite, "-k", "trusting_kd")
    passed = re.search(r"(\d+) passed", told)
    assert passed and int(passed[1]) > 20 and "failed" not in told
