"""The handlers for several runs at once: always about those that were ticked, in their order."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run

from app.board import Board
from app.pages.runs.listing import Listing
from app.pages.runs.ticked_handlers import TickedHandlers
from kdengine.jobs import JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.annotations import annotate, read_annotations
from kdengine.workspace.states import State

pytestmark = pytest.mark.usefixtures("downloads")

RESULT = ("box", "said", "plot", "really")
TAUGHT = {"teacher": "run:big", "status": {"teacher_run": "big"}}


@pytest.fixture
def ticked(workspace: Workspace) -> TickedHandlers:
    """A teacher with two students, one without an epoch, and a run of the same name as another."""
    make_run(workspace, "big", [0.8, 0.95], test=0.94, student="resnet8x4", created=1.7e9)
    make_run(workspace, "a", [0.5, 0.9], test=0.896, method="kd", seed=3, title="gamma", created=1.7e9 + 1, **TAUGHT)
    make_run(workspace, "b", [], method="dkd", seed=4, state=State.STOPPED, created=1.7e9 + 2, **TAUGHT)
    for seed in (0, 1):
        make_run(workspace, f"c{seed}", [0.3, 0.4], method="byot", seed=seed, created=1.7e9 + 3 + seed)
    return TickedHandlers(Listing(Board(workspace)))


def result(values: list[Any]) -> dict[str, Any]:
    found = dict(zip(RESULT, values, strict=True))
    return {key: value.get("visible") if key in ("box", "really") else value for key, value in found.items()}


def rows_left(ticked: TickedHandlers) -> set[str]:
    return {job.id for job in JobStore(ticked.board.workspace).jobs()}


def test_the_curves_of_the_ticked_runs_are_on_one_plot(ticked: TickedHandlers) -> None:
    shown = result(ticked.overlay("c1,a,c0"))
    assert shown["box"] and shown["plot"]["visible"] and not shown["really"]
    accuracy = [trace for trace in shown["plot"]["value"].data if trace.yaxis == "y"]
    assert [trace.name for trace in accuracy] == ["byot resnet8 #1", "gamma", "byot resnet8 #0"]
    assert list(accuracy[1].y) == [50, 90]


def test_what_cannot_be_drawn_is_said(ticked: TickedHandlers) -> None:
    shown = result(ticked.overlay("a,b,nobody"))
    assert len(shown["plot"]["value"].data) == 2
    assert "No epoch has ended yet in dkd resnet8" in shown["said"] and "no run nobody" in shown["said"]
    nothing = result(ticked.overlay(""))
    assert not nothing["plot"]["visible"] and nothing["said"].count('role="alert"') == 1
    for number in range(12):
        make_run(ticked.board.workspace, f"more{number}", [0.1])
    many = result(ticked.overlay(",".join(f"more{number}" for number in range(12))))
    assert "first 10 of 12" in many["said"] and len(many["plot"]["value"].data) == 20


def test_only_settings_that_differ_are_compared(ticked: TickedHandlers) -> None:
    said = result(ticked.compare_settings("c0,c1"))["said"]
    assert re.findall(r'<tr class="setting"><th scope="row">([^<]*)', said) == ["seed"]
    assert said.index(">0</td>") < said.index(">1</td>"), "in the order of the ticks"
    three = result(ticked.compare_settings("a,big,b"))["said"]
    settings = re.findall(r'<tr class="setting"><th scope="row">([^<]*)', three)
    assert {"method.name", "student.name", "seed", "teacher.run"} <= set(settings)
    assert "title" not in settings and "recipe.epochs" not in settings
    assert "90.0 %" in three and "94.0 %" in three, "with what came of it"
    for run_id, rate in (("d", 1 / 12), ("e", 1 / 12 + 1e-9), ("f", 1 / 12)):
        make_run(ticked.board.workspace, run_id, [0.3], recipe={"lr": rate})
    numbers = result(ticked.compare_settings("d,e"))["said"]
    assert f'<td title="{1 / 12}">0.08333</td><td title="{1 / 12 + 1e-9}">0.08333</td>' in numbers
    assert "All settings of these 2 runs are the same" in result(ticked.compare_settings("d,f"))["said"]
    assert result(ticked.compare_settings("a"))["said"].count('role="alert"') == 1


def test_a_run_whose_settings_are_damaged_takes_no_other_down(ticked: TickedHandlers) -> None:
    ticked.board.workspace.run("c0").spec_file.write_text("{")
    said = result(ticked.compare_settings("c0,c1,a"))["said"]
    assert "cannot be read" in said and "method.name" in said


def test_tags_are_added_to_all_and_taken_away(ticked: TickedHandlers) -> None:
    workspace = ticked.board.workspace
    annotate(workspace.run("a"), tags=["old"], notes="kept")
    said, field = ticked.add_tag("a,c1,nobody", "paper, #best")
    assert "2 runs have #paper, #best" in said and "no run nobody" in said and field != ""
    assert read_annotations(workspace.run("a")).tags == ("old", "paper", "best")
    assert read_annotations(workspace.run("a")).notes == "kept"
    assert read_annotations(workspace.run("c0")).tags == ()
    said, field = ticked.remove_tag("a,c0", "paper")
    assert "no longer have #paper" in said and field == ""
    assert read_annotations(workspace.run("a")).tags == ("old", "best")
    assert read_annotations(workspace.run("c1")).tags == ("paper", "best")
    for wrong in (("a", " , "), ("", "paper"), ("a", "x" * 60)):
        assert ticked.add_tag(*wrong)[0].count('role="alert"') == 1


def test_deleting_says_what_goes_and_takes_students_before_teachers(ticked: TickedHandlers) -> None:
    asked, *shown, label = ticked.ask_before_deleting("big,b,c0")
    said = result(shown)
    assert asked == "big,b,c0" and said["really"] and label["value"] == "Delete 3 runs permanently"
    assert "teacher resnet8x4" in said["said"] and "1 run that stay" in said["said"] and "kB" in said["said"]
    assert rows_left(ticked) == {"big", "a", "b", "c0", "c1"}, "asking deletes nothing"
    ticked.listing.look()
    asked, *shown = ticked.delete(asked)
    assert "3 runs deleted" in result(shown)["said"] and rows_left(ticked) == {"a", "c1"} and asked == ""
    assert not result(shown)["really"]


def test_what_cannot_be_deleted_is_said_and_stays(ticked: TickedHandlers) -> None:
    """The stopped student can be resumed, and needs its teacher."""
    asked, *_ = ticked.ask_before_deleting("big,c0")
    _, *shown = ticked.delete(asked)
    assert "1 run deleted" in result(shown)["said"] and "b can be resumed" in result(shown)["said"]
    assert rows_left(ticked) == {"big", "a", "b", "c1"}
    assert ticked.ask_before_deleting("")[0] == "" and not result(ticked.delete("")[1:])["really"]


def test_the_file_holds_the_rows_and_no_formula(ticked: TickedHandlers) -> None:
    workspace = ticked.board.workspace
    annotate(workspace.run("c1"), name='=HYPERLINK("http://x")', tags=["@sum", "+1"], notes="-2+3\nnext")
    path, said = ticked.hand_out_csv("c1,a")
    assert said == "" and workspace.root not in Path(path).parents
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["name"] == '\'=HYPERLINK("http://x")' and first["notes"] == "'-2+3\nnext"
    assert first["tags"] == "'@sum +1" and first["best_validation"] == "0.4" and first["test"] == ""
    assert (second["id"], second["name"], second["teacher"], second["seed"]) == ("a", "gamma", "resnet8x4", "3")
    assert (second["best_validation"], second["test"], second["seconds"]) == ("0.9", "0.896", "120")
    assert ticked.hand_out_csv("nobody")[0] is None and ticked.hand_out_csv("")[1].count('role="alert"') == 1


def test_what_was_shown_is_closed(ticked: TickedHandlers) -> None:
    shown = result(ticked.close())
    assert not shown["box"] and shown["said"] == "" and not shown["plot"]["visible"] and not shown["really"]
