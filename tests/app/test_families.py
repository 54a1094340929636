"""What runs are called, and what belongs together."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import make_run

from app.board import Board
from app.families import Families, families
from kdengine.comparison.plan import make_plan
from kdengine.comparison.queueing import queue_missing
from kdengine.comparison.stored_plans import save_plan
from kdengine.workspace import Workspace
from kdengine.workspace.annotations import annotate
from kdengine.workspace.states import State


@pytest.fixture
def known(workspace: Workspace) -> Families:
    """Two teachers, one of a comparison's runs and one of others' too; a study; runs of their own."""
    for run_id in ("one", "two"):
        make_run(workspace, run_id, [0.9], student="resnet8x4", seed=int(run_id == "two"))
    plan = make_plan("first", {"data": {"name": "digits"}, "student": "resnet20"}, ["byot"], range(2))
    save_plan(plan, workspace)
    taught = {"method": "kd", "teacher": "run:one", "status": {"teacher_run": "one", "comparison": "first"}}
    make_run(workspace, "c0", [0.7], title="first: kd, seed 0", seed=0, **taught)
    make_run(workspace, "c1", [0.7], title="first: kd, seed 1", seed=1, **taught)
    make_run(workspace, "older", [0.7], method="byot", title="first: byot, seed 0")  # no status says so
    make_run(workspace, "colon", [0.7], method="byot", title="second: byot")
    trial = {"study": "study-warm", "trial": 3, "teacher_run": "two"}
    make_run(workspace, "t", [0.6], method="kd", teacher="run:two", status=trial, seed=7)
    make_run(workspace, "alone", [0.6], method="kd", teacher="run:two", status={"teacher_run": "two"})
    annotate(workspace.run("c1"), name="the odd one")
    return families(Board(workspace).rows())


def test_names_are_names_and_no_ids(known: Families) -> None:
    assert known.names == {
        **{"one": "teacher resnet8x4", "two": "teacher resnet8x4", "c0": "kd", "c1": "the odd one", "older": "byot"},
        **{"colon": "second: byot", "t": "trial 3", "alone": "kd resnet8"},
    }


def test_what_belongs_together_folds_together(known: Families) -> None:
    groups = {run_id: group.id for run_id, group in known.groups.items()}
    assert groups == dict.fromkeys(("c0", "c1", "older", "one"), "comparison first") | {"t": "study warm"}
    assert known.words["one"] == "teacher of comparison first" and known.words["two"] == "teacher of 2 runs"
    assert known.words["c0"] == "comparison first" and known.words["alone"] == ""
    assert known.groups["c0"].address == "/compare?name=first" and known.groups["t"].address == "/studies?name=warm"


def test_teachers_are_named_by_their_network_and_know_their_students(known: Families) -> None:
    assert known.teachers == dict.fromkeys(("c0", "c1", "t", "alone"), "resnet8x4")
    assert sorted(known.students["two"]) == ["alone", "t"] and sorted(known.students["one"]) == ["c0", "c1"]


def test_ones_own_images_are_called_by_their_folder_and_seeds_are_known(workspace: Workspace, tmp_path: Path) -> None:
    spec = {"name": "folder", "path": str(tmp_path / "我的 photos.zip"), "image_size": 16, "per_class": None}
    make_run(workspace, "mine", [0.5], data=spec, seed=12, recipe={"batch_size": 8})
    make_run(workspace, "theirs", [0.5], seed=3, state=State.STOPPED)
    workspace.run("theirs").spec_file.write_text("{")
    rows = {row.id: row for row in Board(workspace).rows()}
    assert (rows["mine"].data, rows["mine"].seed, rows["mine"].dataset) == ("我的 photos.zip", 12, "folder")
    assert rows["theirs"].seed is None


def test_runs_of_a_comparison_say_so_from_the_beginning(workspace: Workspace) -> None:
    common = {"data": {"name": "digits", "per_class": 9}, "student": "resnet20"}
    plan = make_plan("third", common, ["byot"], range(1))
    save_plan(plan, workspace)
    assert queue_missing(plan, workspace) == 3
    assert {row.comparison for row in Board(workspace).rows()} == {"third"}


def test_the_heats_of_a_race_fold_with_the_job_that_steers_it(workspace: Workspace) -> None:
    make_run(workspace, "h", [0.5], title="dash.heat-2: byot, seed 1000")
    workspace.run("h").update_status(race="dash")
    known = families(Board(workspace).rows())
    assert known.names["h"] == "heat-2: byot"
    assert (known.groups["h"].id, known.groups["h"].address) == ("race dash", "/race?name=dash")
