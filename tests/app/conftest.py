"""Trained runs, and a process that computes: for the handlers of the pages, called as the pages call them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import make_workspace, tiny_spec

from app.board import Board
from app.worker import Worker
from kdengine import run
from kdengine.jobs import JobStore
from kdengine.workspace import Workspace


class Trained(NamedTuple):
    """Three runs on digits, oldest first; a page that is asked for nothing shows the newest.

    Attributes:
        workspace: theirs; nobody may change it.
        teacher: resnet8x4 alone.
        taught: resnet20 taught by it with kd at temperature 3.5, looked at while it trained.
        newest: vgg8 alone.
    """

    workspace: Workspace
    teacher: str
    taught: str
    newest: str

    @property
    def board(self) -> Board:
        return Board(self.workspace)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Trained:
    workspace = make_workspace(tmp_path_factory.mktemp("trained") / "home", furnished)

    def train(**changes: object) -> str:
        result = run(tiny_spec(**changes), workspace=workspace)
        JobStore(workspace).adopt(workspace.run(result.run_id))
        return result.run_id

    few = {"per_class": 12}
    teacher = train(student="resnet8x4", data=few)
    taught = train(
        student="resnet20", method={"name": "kd", "temperature": 3.5}, teacher=f"run:{teacher}", data=few, seed=5,
        title="gamma", runtime={"inspect": 2},
    )  # fmt: skip
    workspace.run(taught).log_file.write_text("what its process said\n")  # as of one that the supervisor started
    return Trained(workspace, teacher, taught, train(student="vgg8", data=few))


@pytest.fixture(scope="session")
def worker(trained: Trained) -> Iterator[Worker]:
    """The process behind a page, at work before the first test asks it."""
    worker = Worker(str(trained.workspace.root))
    worker.call("warm")
    yield worker
    worker.close()


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pages write for a person to take away goes with the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
