"""A small comparison, and a workspace in which all its runs look finished."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_comparison import ACCURACY, finish

from kdengine.comparison.plan import Plan, make_plan
from kdengine.workspace import Workspace


@pytest.fixture
def plan() -> Plan:
    common = {"data": {"name": "digits", "per_class": 10}, "student": "resnet20", "teacher": "resnet8x4"}
    return make_plan("trial", common, ["kd", "byot"], range(3))


@pytest.fixture
def finished(plan: Plan, tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    for number, cell in enumerate(plan.cells):
        finish(workspace, cell.spec, ACCURACY[cell.arm][cell.seed], f"run-{number:02d}")
    return workspace
