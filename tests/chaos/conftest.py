"""What a run comes to when nobody disturbs it, once for all tests; and a world for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import make_workspace
from world import Undisturbed, World


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Undisturbed:
    world = World(make_workspace(tmp_path_factory.mktemp("undisturbed") / "home", furnished))
    try:
        world.launch("quiet")
        assert world.finish("quiet") == 0
        world.check_agreement("quiet")
        run = world.workspace.run("quiet")
        first = next(run.events("step"))["time"]
        return Undisturbed(world.digests("quiet"), first - (world.store.get("quiet").started or first))
    finally:
        world.close()


@pytest.fixture
def world(tmp_path: Path, furnished: Path, undisturbed: Undisturbed) -> Iterator[World]:
    world = World(make_workspace(tmp_path / "home", furnished), undisturbed.startup_s)
    yield world
    world.close()
