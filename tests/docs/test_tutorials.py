"""Every tutorial, done: its commands run in order in an empty folder, and what the page says comes out comes out.

Blocks marked ``sh`` are run. A ``text`` block right behind one tells part of its output: each of its lines must be
there, whatever its numbers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kdengine.workspace import Workspace

pytestmark = [pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted(path for path in (ROOT / "docs" / "tutorials").glob("*.md") if path.stem != "index")
_BLOCK = re.compile(r"^```sh\n(?P<commands>.*?)^```$(?:\n*^```text\n(?P<told>.*?)^```$)?", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d[\d.,]*")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ``python``, ``pip``, ``pytest`` and ``kd``: of an environment that a tutorial may install into."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # Before Python 3.12 an environment is made with a setuptools that is too old; the one installed here does.
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "setuptools"], check=True, capture_output=True)
    (Path(site) / "what_is_installed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name, words in {"kd": "-m kdengine", "pytest": "-m pytest -p no:cacheprovider"}.items():
        program = place / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{python}" {words} "$@"\n')
        program.chmod(0o755)
    return place / "bin"


@pytest.fixture
def shell(programs: Path, workspace: Workspace, tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """An empty folder, and the environment of its commands; what they leave running is ended."""
    folder = tmp_path / "folder"
    folder.mkdir()
    yield folder, os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0",  # the last says: without isolation
    }  # fmt: skip
    for process in psutil.process_iter():
        try:
            if process.environ().get("KD_HOME") == str(workspace.root) and process.pid != os.getpid():
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def as_pattern(line: str) -> re.Pattern[str]:
    """A line of a page as a pattern: any number where it has one, any room where it has some."""
    words = ("".join(r"[-+]?\d[\d.,]*" if _NUMBER.fullmatch(part) else re.escape(part) for part in parts)
             for parts in (re.split(f"({_NUMBER.pattern})", word) for word in line.split()))  # fmt: skip
    return re.compile(r"\s+".join(words))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial(page: Path, shell: tuple[Path, dict[str, str]]) -> None:
    folder, environment = shell
    blocks = list(_BLOCK.finditer(page.read_text()))
    assert blocks, "the page has no commands"
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block["commands"]],
            cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        print(f"$ {block['commands']}{done.stdout}")
        assert done.returncode == 0, f"{block['commands']}\n{done.stdout}"
        for line in filter(None, map(str.strip, (block["told"] or "").splitlines())):
            assert line == "..." or as_pattern(line).search(done.stdout), f"{line!r} is not in\n{done.stdout}"


def test_every_tutorial_is_in_the_list() -> None:
    index = (ROOT / "docs" / "tutorials" / "index.md").read_text()
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == {page.stem for page in TUTORIALS}


def test_lines_are_compared_by_their_words() -> None:
    assert as_pattern("accuracy  97.5 %").search("  accuracy   3 %\n")
    assert not as_pattern("accuracy  97.5 %").search("  loss   3 %\n")
