"""``kd inspect``: what a person types, and what lies there afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import Distilled

from kdengine.cli import main


@pytest.fixture(autouse=True)
def home(distilled: Distilled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD_HOME", str(distilled.workspace.root))


def typed(*words: str) -> int:
    return main(["inspect", *words])


def test_without_a_view_it_lists_what_there_is(distilled: Distilled, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(distilled.first.run_id) == 0
    out = capsys.readouterr().out
    assert "attention" in out and "made when asked for" in out and "epochs: best, last, 2" in out


def test_arrays_as_numbers_and_as_a_file(
    distilled: Distilled, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = distilled.first.run_id
    assert typed(run, "--what", "attention", "--count", "4") == 0
    assert "student_1" in (out := capsys.readouterr().out) and "4 x 16 x 16" in out
    target = tmp_path / "arrays.npz"
    assert typed(run, "--what", "graph", "--count", "12", "--with", distilled.second.run_id, "--out", str(target)) == 0
    with np.load(target) as stored:
        assert stored["embedding_student"].shape == (12, 12) and stored["pixels"].shape == (12, 16, 16, 3)
        # Equal runs have equal students: the second one's arrays are the first's.
        assert np.array_equal(stored["embedding_student"], stored["other/embedding_student"])


def test_a_page_and_a_drawing(distilled: Distilled, tmp_path: Path) -> None:
    run, other = distilled.first.run_id, distilled.second.run_id
    page, drawing, difference = (tmp_path / name for name in ("graph.html", "maps.svg", "gained.html"))
    assert typed(run, "--what", "graph", "--count", "12", "--out", str(page)) == 0
    assert "plotly" in page.read_text().lower() and "<h1>Graph: resnet8, kd" in page.read_text()
    assert typed(run, "--what", "gradcam", "--count", "3", "--classes", "1,2", "--out", str(drawing)) == 0
    assert drawing.read_text().count('class="kd-map"') == 6
    words = ["--what", "attention", "--with", other, "--difference", "--count", "2", "--out", str(difference)]
    assert typed(run, *words) == 0
    assert "blue = more in the second" in difference.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--what", "grph"], "there is no view 'grph'; there are: attention"),
        (["--what", "graph", "--epoch", "first"], "found 'first'; expected best, last or the number of an epoch"),
        (["--what", "graph", "--epoch", "7"], "there are no weights of epoch 7"),
        (["--what", "graph", "--out", "x.pdf"], "found .pdf; expected a file that ends in .html, .svg, .npz"),
        (["--what", "graph", "--count", "3", "--out", "x.svg"], "is drawn by Plotly; write .html"),
        (["--what", "graph", "--difference", "--threshold", "2"], "needs a second run"),
        (["--what", "graph", "--classes", "cat"], "digits has no class 'cat'"),
        (["--what", "gradcam", "--pictures", "nowhere.png"], "there is no image file nowhere.png"),
        (["--what", "importance"], "has nothing to show under importance; it has: attention"),
    ],
)
def test_what_cannot_be_is_said_in_words(
    distilled: Distilled,
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed(distilled.first.run_id, *words) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir()), "nothing half written"
