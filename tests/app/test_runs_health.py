"""What is odd about a run is said with a remedy, and nothing is said of one that is well."""

from __future__ import annotations

import math
from typing import Any

import pytest
from made_runs import make_run

from app.board import Board, Record
from app.pages.runs.health import findings, line
from kdengine.workspace import Workspace
from kdengine.workspace.identity import process_identity
from kdengine.workspace.states import State

RISING = [0.3, 0.5, 0.6, 0.65, 0.68, 0.7, 0.71, 0.71]


def odd(workspace: Workspace, accuracies: list[float], change: Any = None, **more: Any) -> list[str]:
    """What is found of a run, after its record was changed."""
    make_run(workspace, "r", accuracies, **more)
    board = Board(workspace)
    detail, record = board.detail("r"), board.record("r")
    assert detail is not None
    if change is not None:
        record = change(record)
    return [finding.what for finding in findings(detail, record)]


def test_a_run_that_is_well_has_none(workspace: Workspace) -> None:
    assert odd(workspace, RISING) == []
    assert (
        line(Board(workspace).detail("r"), Board(workspace).record("r")) == "" and line(None, Record([], [], [])) == ""
    )


def test_one_that_fell_names_both_epochs_and_values(workspace: Workspace) -> None:
    (found,) = odd(workspace, [*RISING, 0.5, 0.48, 0.45])
    assert "fell from 71.0 % in epoch 8 to 45.0 %" in found


@pytest.mark.parametrize("accuracies", [[*RISING, 0.1], [*RISING, 0.69]])
def test_a_dip_of_a_moment_is_none(workspace: Workspace, accuracies: list[float]) -> None:
    assert odd(workspace, accuracies) == []


def test_a_student_better_than_its_teacher(workspace: Workspace) -> None:
    make_run(workspace, "teacher", [0.6])
    taught = {"method": "kd", "teacher": "run:teacher"}
    found = odd(workspace, RISING, status={"teacher_run": "teacher"}, **taught)
    assert found == ["The student (71.0 %) is better than the teacher (60.0 %)."]


def test_a_loss_that_is_no_number(workspace: Workspace) -> None:
    def broken(record: Record) -> Record:
        return Record(record.epochs, [*record.steps, record.steps[-1] | {"loss": math.nan}], [])

    assert odd(workspace, RISING, broken) == ["The loss is not a number."]


def test_a_term_that_hardly_counts_is_named(workspace: Workspace) -> None:
    def small(record: Record) -> Record:
        terms = {"ce": {"raw": 1.0, "weighted": 1.0}, "kd": {"weighted": 0.5}}
        terms["far_off"] = {"raw": 1.0, "weighted": 0.0009}
        return Record(record.epochs, [step | {"terms": terms} for step in record.steps], [])

    assert odd(workspace, RISING, small) == ["The loss term far off is less than a thousandth of the loss."]


def test_an_idle_gpu_and_a_slow_machine(workspace: Workspace) -> None:
    def slow(record: Record) -> Record:
        steps = [step | {"images_per_s": 500.0 if n < 60 else 100.0} for n, step in enumerate(record.steps)]
        return Record(record.epochs, steps, [], [{"gpu": {"use": 0.1}, "time": 1.0}] * 10)

    status = {"process": process_identity(home=workspace.root), "progress_at": 4e9}
    found = odd(workspace, RISING, slow, state=State.RUNNING, status=status)
    assert found == ["The GPU is in use 10.0 % of the time.", "It trains 100 images/s, usually 500."]


def test_each_comes_with_its_remedy_and_escaped(workspace: Workspace) -> None:
    def named(record: Record) -> Record:
        terms = {"ce": {"weighted": 1.0}, "kd": {"weighted": 1.0}, "<b>": {"weighted": 0.0}}
        return Record(record.epochs, [step | {"terms": terms} for step in record.steps], [])

    make_run(workspace, "r", RISING)
    board = Board(workspace)
    html = line(board.detail("r"), named(board.record("r")))
    assert "&lt;b&gt;" in html and "<b><b>" not in html and "raise its weight" in html
