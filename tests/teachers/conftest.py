"""The digits, and a net that was trained on them elsewhere; once for all tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest
from abroad import Abroad, train_abroad

from kdengine.data import DatasetBundle, load_dataset
from kdengine.workspace import Workspace


@pytest.fixture(scope="session")
def digits(furnished: Path) -> DatasetBundle:
    workspace = Workspace(furnished)
    return load_dataset("digits", workspace.datasets, 16, cache=workspace.cache)


@pytest.fixture(scope="session")
def abroad(digits: DatasetBundle, tmp_path_factory: pytest.TempPathFactory) -> Abroad:
    return train_abroad(digits, tmp_path_factory.mktemp("abroad"))
