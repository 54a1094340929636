"""Name, tags and notes that a person gives a run: kept in a file of their own, seen in lists, gone with the run."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from made_runs import make_run

from app.board import Board
from kdengine.cli import main
from kdengine.errors import BadInput, KdError
from kdengine.jobs import JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.annotations import MAX_TAGS, Annotations, annotate, read_annotations, retag


@pytest.fixture
def two(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Two runs, of which the second was launched with a name."""
    monkeypatch.setenv("KD_HOME", str(workspace.root))
    make_run(workspace, "first", [0.5])
    make_run(workspace, "second", [0.6], title="gamma", seed=4)
    return workspace


def test_what_is_written_is_read_and_the_rest_stays(two: Workspace) -> None:
    run = two.run("first")
    assert read_annotations(run) == Annotations()
    annotate(run, name="  the \n best ", tags=["paper", " #paper", "", "two words"], notes="a\nb")
    assert read_annotations(run) == Annotations("the best", ("paper", "two words"), "a\nb")
    annotate(run, notes="")
    assert read_annotations(run) == Annotations("the best", ("paper", "two words"), "")
    retag(run, add=["new", "paper"], remove=["two words"])
    assert read_annotations(run).tags == ("paper", "new")
    assert read_annotations(two.run("second")) == Annotations()


def test_every_problem_is_said_and_nothing_is_written(two: Workspace) -> None:
    run = two.run("first")
    annotate(run, name="before")
    with pytest.raises(BadInput) as refused:
        annotate(run, name="x" * 200, tags=["y" * 50, *map(str, range(MAX_TAGS))], notes="fine")
    assert [problem.field for problem in refused.value.problems] == ["name", "tags", "tags"]
    assert read_annotations(run) == Annotations("before")
    with pytest.raises(KdError, match="moved or deleted"):
        annotate(two.run("nobody"), name="ghost")
    assert not two.run("nobody").path.exists()


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"name": 3, "tags": "paper", "notes": null}'])
def test_a_damaged_file_reads_as_nothing_and_the_next_change_keeps_it_aside(two: Workspace, content: str) -> None:
    run = two.run("first")
    run.annotations_file.write_text(content)
    assert read_annotations(run) == Annotations()
    retag(run, add=["paper"])
    assert read_annotations(run).tags == ("paper",)
    kept = run.path / "annotations.json.damaged"
    assert content.startswith('{"name"') or kept.read_text() == content


def test_tags_that_come_at_once_are_all_kept(two: Workspace) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: retag(two.run("first"), add=[f"t{number}"]), range(12)))
    assert set(read_annotations(two.run("first")).tags) == {f"t{number}" for number in range(12)}


def test_the_shell_writes_and_prints_them(two: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tag", "second", "paper", "new", "--name", "mine"]) == 0
    assert main(["tag", "second", "--remove", "new", "--notes", "a note", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :]) == {"id": "second", "name": "mine", "tags": ["paper"], "notes": "a note"}
    assert main(["tag", "second", "x" * 60]) == 2 and "expected 40 at most" in capsys.readouterr().err
    assert main(["tag", "nobody", "paper"]) == 2
    assert read_annotations(two.run("first")) == Annotations()


def test_lists_show_them_and_they_go_with_the_run(two: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    annotate(two.run("first"), name="Frühling", tags=["paper"], notes="warm-up")
    rows = {row.id: row for row in Board(two).rows()}
    assert (rows["first"].title, rows["first"].tags, rows["first"].notes) == ("Frühling", ("paper",), "warm-up")
    assert (rows["second"].title, rows["second"].tags) == ("gamma", ())
    assert main(["jobs"]) == 0
    listed = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert "Frühling #paper" in listed["first"] and "gamma" in listed["second"] and "#" not in listed["second"]
    assert main(["jobs", "--json"]) == 0
    found = {job["id"]: job for job in json.loads(capsys.readouterr().out)}
    assert (found["first"]["name"], found["first"]["tags"], found["first"]["note"]) == (
        "Frühling",
        ["paper"],
        "warm-up",
    )
    JobStore(two).delete("first")
    make_run(two, "first", [0.4])
    assert next(row for row in Board(two).rows() if row.id == "first").title == ""
