"""A workspace without MLflow whose queue the test works off."""

from __future__ import annotations

from pathlib import Path

import pytest
from mill import Mill

from kdengine.workspace import Workspace


@pytest.fixture
def mill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mill:
    monkeypatch.setenv("KD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KD_STUDY_STORAGE", raising=False)
    monkeypatch.setattr("kdengine.tracking.available", lambda: False)
    # Networks are tried elsewhere; here only what follows from it.
    monkeypatch.setattr("kdengine.assembly.preflight", lambda spec, workspace: None)
    return Mill(Workspace(tmp_path / "home"))
