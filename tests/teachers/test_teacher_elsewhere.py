"""Imported teachers in the other rooms: queue, forecast, comparison, and the tasks behind the Launch page."""

from __future__ import annotations

from typing import Any

import pytest
from abroad import ARCHITECTURE, Abroad
from PIL import Image
from support import tiny_spec

from app import catalog, tasks
from kdengine import ExperimentSpec, run
from kdengine.assembly.launch import launch
from kdengine.cli import main
from kdengine.comparison.measure import measure
from kdengine.comparison.plan import make_plan
from kdengine.comparison.progress import progress, unmeasured
from kdengine.comparison.queueing import begin
from kdengine.comparison.report import report
from kdengine.comparison.stored_plans import load_plan
from kdengine.data import DatasetBundle
from kdengine.errors import BadInput
from kdengine.forecast import forecast
from kdengine.jobs import JobStore
from kdengine.teachers import records
from kdengine.workspace import Workspace


@pytest.fixture
def taught(workspace: Workspace, abroad: Abroad) -> ExperimentSpec:
    """An experiment whose teacher is the imported net."""
    main(abroad.words("abroad"))
    return tiny_spec(method="kd", teacher="import:abroad", recipe={"epochs": 1})


def test_the_queue_takes_it(workspace: Workspace, taught: ExperimentSpec) -> None:
    (job,) = launch(taught, workspace)
    assert job.teacher == "abroad" and job.fingerprint == records.pinned(taught, workspace).fingerprint()
    assert JobStore(workspace).get(job.id).teacher == "abroad"
    assert records.needed_by(workspace, "abroad") == [f"run {job.id}"]


def test_the_forecast_counts_it(workspace: Workspace, taught: ExperimentSpec) -> None:
    cost = forecast(taught, workspace)
    assert cost.teacher is not None and cost.teacher.name == f"timm/{ARCHITECTURE}"
    assert cost.teacher.parameters == 101_766 and cost.teacher_seconds == 0


def test_a_comparison_under_it(workspace: Workspace, taught: ExperimentSpec) -> None:
    mapping = taught.model_dump(mode="json") | {"teacher": "import:abroad"}
    plan = make_plan("own", mapping, ["kd"], [0], ["twice method=kd teacher=import:abroad method.temperature=2"])
    assert begin(plan, workspace) == 4
    plan = load_plan(workspace, "own")
    digest = records.find(workspace, "abroad").digest
    assert plan.common["teacher"] == {"import": "abroad", "digest": digest}
    with pytest.raises(BadInput, match=r"run .* learned or will learn from it"):
        records.delete(workspace, "abroad")

    # The queue is not served here: one run is made by hand, and belongs to the comparison by its fingerprint.
    cell = next(cell for cell in plan.cells if cell.arm == "kd")
    run(cell.spec, workspace=workspace, run_id="by-hand")
    now = progress(plan, workspace)
    assert [found.run.id for found in now.cells if found.finished and found.run] == ["by-hand"]
    (left,) = unmeasured(now)
    numbers = measure(left, now.teacher, workspace)
    assert numbers["teacher"] == "import:abroad" and 0.5 < numbers["teacher_accuracy"] <= 1
    rows = {row.name: row for row in report(progress(plan, workspace)).rows}
    assert rows["teacher"].best is not None
    assert rows["teacher"].best.mean == pytest.approx(100 * numbers["teacher_accuracy"])
    assert rows["kd"].agreement is not None


def test_the_tasks_behind_the_launch_page(workspace: Workspace, abroad: Abroad, tmp_path: Any) -> None:
    def call(task: str, *arguments: Any) -> Any:
        return tasks.run(task, str(workspace.root), arguments)

    swapped = abroad.permuted(tmp_path, [9, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    request = {"path": str(swapped), "model": f"timm/{ARCHITECTURE}", "name": "mine", "classes": "",
               "mean": "0.5 0.5 0.5", "std": "0.25 0.25 0.25", "image_size": 16}  # fmt: skip
    assert call("import_teacher", request)["result"] == {"name": "mine", "lines": []}
    assert ("imported: mine", "import:mine") in catalog.teachers(workspace, {"name": "digits"})
    found = call("check_teacher", "mine", {"name": "digits"}, False)["result"]
    assert found["fixable"] and any("another order" in line for line in found["lines"])
    assert call("check_teacher", "mine", {"name": "digits"}, True)["result"]["lines"] == [
        "stored: classes put into the order of digits"
    ]
    assert not call("check_teacher", "mine", {"name": "digits"}, False)["result"]["fixable"]
    assert call("import_teacher", request)["problems"][0][0] == "name"
    assert call("import_teacher", request | {"name": "other", "model": ""})["problems"][0][0] == "model"


def test_the_demo_asks_it_too(
    workspace: Workspace, taught: ExperimentSpec, digits: DatasetBundle, tmp_path: Any
) -> None:
    run(taught, workspace=workspace, run_id="taught")
    Image.fromarray(digits.validation.take([0])[0]).save(tmp_path / "digit.png")
    student, teacher = tasks.run("classify", str(workspace.root), (["taught"], str(tmp_path / "digit.png")))["result"]
    assert (teacher["role"], teacher["run"], teacher["model"]) == ("teacher", "import:abroad", f"timm/{ARCHITECTURE}")
    assert teacher["parameters"] == 101_766 and sum(value for _, value in teacher["top"]) <= 1.001
    assert student["model"] == "resnet8"
