"""What one sitting has computed the next one has, wherever that is; and nothing of a machine is kept with it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import evidence
import pytest
from finished_comparison import ACCURACY, finish

from kdengine.comparison.plan import Plan, make_plan
from kdengine.comparison.progress import MISSING, progress
from kdengine.comparison.report import report
from kdengine.comparison.stored_plans import save_plan
from kdengine.comparison.tables import rows
from kdengine.errors import BadInput
from kdengine.workspace import Workspace


@pytest.fixture
def plan(workspace: Workspace) -> Plan:
    """A comparison with the runs of two seeds; a third is under way, and a run of somebody else has finished."""
    plan = make_plan("kept", {"data": "digits", "student": "resnet20"}, ["byot"], range(3), cutmix=False)
    save_plan(plan, workspace)
    for number, cell in enumerate(plan.cells):
        run = finish(workspace, cell.spec, ACCURACY[cell.arm][cell.seed], f"run-{number}")
        run.update_status(process={"pid": 1, "workspace": "of this machine"}, start_token="secret")
        if cell.seed == 2:
            run.update_status(state="running")
    finish(workspace, plan.cells[0].spec.model_copy(update={"seed": 77}), 50.0, "foreign")
    return plan


def test_the_next_sitting_has_what_had_finished_and_only_that(plan: Plan, workspace: Workspace, tmp_path: Path) -> None:
    assert evidence.keep("kept", workspace, tmp_path) == 4
    elsewhere = Workspace(tmp_path / "elsewhere")
    assert evidence.restore("kept", elsewhere, tmp_path) == 4
    now = progress(plan, elsewhere)
    assert {cell.state for cell in now.cells if cell.cell.seed < 2} == {"finished"}
    assert {cell.state for cell in now.cells if cell.cell.seed == 2} == {MISSING}
    assert rows(report(now)) == rows(report(progress(plan, workspace)))
    assert sorted(run.id for run in elsewhere.list_runs()) == ["run-0", "run-1", "run-2", "run-3"]


def test_what_is_there_is_not_overwritten(plan: Plan, workspace: Workspace, tmp_path: Path) -> None:
    evidence.keep("kept", workspace, tmp_path)
    workspace.run("run-0").update_status(state="stopped")
    assert evidence.restore("kept", workspace, tmp_path) == 0
    assert workspace.run("run-0").status()["state"] == "stopped"
    assert evidence.restore("never kept", workspace, tmp_path) == 0


def test_studies_of_another_comparison_are_not_replaced(plan: Plan, workspace: Workspace, tmp_path: Path) -> None:
    evidence.keep("kept", workspace, tmp_path)
    elsewhere = Workspace(tmp_path / "elsewhere")
    elsewhere.settle(new=True)
    elsewhere.studies_db.write_bytes(b"of another one")
    with pytest.raises(BadInput, match="has studies already; give kept one of its own"):
        evidence.restore("kept", elsewhere, tmp_path)
    assert elsewhere.studies_db.read_bytes() == b"of another one"


def test_the_archive_has_neither_weights_nor_names_of_processes(
    plan: Plan, workspace: Workspace, tmp_path: Path
) -> None:
    evidence.keep("kept", workspace, tmp_path)
    file = evidence.archive_of("kept", tmp_path)
    with tarfile.open(file) as archive:
        names = archive.getnames()
        statuses = [json.load(archive.extractfile(each) or []) for each in names if each.endswith("status.json")]
    assert not [name for name in names if name.endswith((".safetensors", ".pt", "log.txt"))]
    assert statuses and not [status for status in statuses if {"process", "start_token"} & set(status)]
    first = file.read_bytes()
    evidence.keep("kept", workspace, tmp_path)
    assert file.read_bytes() == first, "the same runs, the same archive"


@pytest.mark.parametrize("name", sorted(evidence.SUITES))
def test_every_suite_is_a_comparison_that_can_be(name: str) -> None:
    plan = evidence.plan_of(name)
    assert plan.tuning is not None and plan.asked[0].name == "none"
    assert len({cell.fingerprint for cell in plan.cells}) == len(plan.cells)
