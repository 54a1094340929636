"""A workspace without MLflow whose queue the test works off."""

from __future__ import annotations

from pathlib import Path

import pytest
from mill import Mill, isolate

from kdengine.workspace import Workspace


@pytest.fixture
def mill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mill:
    isolate(monkeypatch, tmp_path / "home")
    return Mill(Workspace(tmp_path / "home"))
