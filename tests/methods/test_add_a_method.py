"""docs/add-a-method.md, done: its files are installed as a package, and the method is there and works."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from kdengine.cli import main
from kdengine.testing import METHOD_CHECKS
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
        # The engine under test, wherever another one may be installed.
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))},
        capture_output=True, text=True, cwd=cwd,
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


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "add-a-method.md").read_text()
    written = re.search(r"`test_trusting_kd.py`:\n\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert written
    (tmp_path / "test_trusting_kd.py").write_text(written[1])
    told = shell(installed, "pytest", "-q", "-p", "no:cacheprovider", "test_trusting_kd.py", cwd=tmp_path)
    assert f"{len(METHOD_CHECKS)} passed" in told


def test_the_suite_of_all_methods_runs_over_it_and_passes(installed: Path) -> None:
    suite = "tests/methods/test_all_methods.py"
    told = shell(installed, "pytest", "-p", "no:cacheprovider", suite, "-k", "trusting_kd")
    passed = re.search(r"(\d+) passed", told)
    assert passed and int(passed[1]) == len(METHOD_CHECKS) and "failed" not in told


def test_a_new_method_works_as_it_is_written(tmp_path: Path) -> None:
    """`kd new-method`, its package installed, its tests, the list."""
    source, site = tmp_path / "my-first", tmp_path / "site"
    said = shell(tmp_path, "kdengine", "new-method", "my_first", cwd=tmp_path)
    assert "pip install -e my-first" in said
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    told = shell(site, "pytest", "-q", "-p", "no:cacheprovider", str(source), cwd=tmp_path)
    assert f"{len(METHOD_CHECKS) + 2} passed" in told
    assert "softened class probabilities" in shell(site, "kdengine", "list", "methods", "my_first", cwd=tmp_path)


@pytest.mark.parametrize("name", ["kd", "My_Method", "with-dash", "class", "1st", "../up", ""])
def test_a_name_that_cannot_be_one_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-method", name]) == 2
    assert "NAME" in capsys.readouterr().err and not [path for path in tmp_path.rglob("*.py")]


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert main(["new-method", "kd", "--to", "mine"]) == 2
    told = capsys.readouterr().err
    assert "there is a method 'kd'" in told and "mine is there already" in told, "every problem at once"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


AUTHORS = {"kdengine.methods", "kdengine.testing", "kdengine.losses"}
"""All that an author of a method imports of the engine."""

PAGES = [ROOT / "docs" / "add-a-method.md", *sorted((ROOT / "docs" / "tutorials").glob("own-*.md"))]


def imported(code: str) -> set[str]:
    """The modules of the engine that these lines import from."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {module for module in found if module.partition(".")[0] == "kdengine"}


def test_a_new_method_imports_what_authors_import_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-method", "my_first"]) == 0
    for path in (tmp_path / "my-first").glob("*.py"):
        assert imported(path.read_text()) and imported(path.read_text()) <= AUTHORS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_for_authors_name_those_modules_and_no_other(page: Path) -> None:
    """In their code, and in their text."""
    text = page.read_text()
    blocks = [dedent(block) for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]
    for block in blocks:
        assert imported(block) <= AUTHORS
    for code in re.findall(r"`((?:from kdengine|import kdengine)[^`]*)`", text):
        assert imported(code) <= AUTHORS
    named = set(re.findall(r"`(kdengine\.\w+)", text))
    assert named <= AUTHORS


def test_all_that_authors_import_is_there() -> None:
    for page in PAGES:
        for module, names in re.findall(r"from (kdengine\.\w+) import ([\w, ]+)", page.read_text()):
            missing = [name for name in names.split(", ") if not hasattr(importlib.import_module(module), name)]
            assert not missing, f"{page.name}: {module} has no {missing}"
