"""A page server that ends leaves nothing of its own behind; the workspace is all there is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from dashboard import Dashboard

from kdengine.workspace import Workspace

pytestmark = pytest.mark.processes


def test_it_clears_its_temporary_files_away(workspace: Workspace) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a short path: sockets lie there too
        dashboard = Dashboard(workspace, TMPDIR=folder)
        dashboard.start()
        assert list(Path(folder).glob("kd-ui-*/gradio")) or list(Path(folder).glob("kd-ui-*/empty"))
        dashboard.close()
        assert not list(Path(folder).glob("kd-*"))
