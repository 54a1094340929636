"""The example notebooks run from top to bottom, in an empty folder, and say what their text promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.processes, pytest.mark.long, pytest.mark.timeout(1800)]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def shown(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each cell of code puts out, as text; raises where one fails."""
    monkeypatch.setenv("KD_HOME", str(folder / "workspace"))
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parents[1]))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return ["".join(map(_text, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"]


def _text(output: Any) -> str:
    data = output.get("data", {})
    return str(output.get("text") or data.get("text/html") or data.get("text/plain") or "".join(data))


def test_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(EXAMPLES / "compare.ipynb", tmp_path, monkeypatch)
    assert "kd train --dataset digits --teacher resnet8x4" in said[1]
    assert "did you mean 'temperature'" in said[2]
    assert "test, best by validation" in said[3] and "plotly" in said[4]
    assert "'kd': [0." in said[5] and "points [" in said[5] and "seeds that would decide it" in said[5]


def test_look_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(EXAMPLES / "look-inside.ipynb", tmp_path, monkeypatch)
    assert "finished" in said[0] and "gradcam" in said[1] and "(" in said[2] and "kd-map" in said[3]
    assert "deployed" in said[4] and "exit" in said[4]
    assert "model.safetensors" in said[5] and "parameters" in said[5]
    assert (tmp_path / "student" / "README.md").is_file()
