"""What makes a run's numbers hard to believe is said with a remedy, and nothing of one that is well."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
from finished_comparison import finish
from support import tiny_spec

from kdengine import run
from kdengine.comparison.plan import Search, make_plan, with_tuned
from kdengine.comparison.progress import progress
from kdengine.comparison.report import report
from kdengine.comparison.tables import FORMATS, notes
from kdengine.export import export
from kdengine.export.request import Request
from kdengine.health import Finding, Record, findings, kept, of_run
from kdengine.workspace import Workspace

WELL = {
    "data": {"classes": 10, "validation": 1000}, "progress": {"epoch": 10, "epochs": 10, "steps": 20},
    "best": {"accuracy": 0.7, "epoch": 9},
}  # fmt: skip


def step(loss: float, **terms: float) -> dict[str, Any]:
    return {"loss": loss, "terms": {name: {"raw": 1.0, "weighted": value} for name, value in terms.items()}}


FALLING = [step(2.0 - 0.05 * number, ce=1.0, kd=0.5) for number in range(30)]


def said(status: dict[str, Any] | None = None, steps: list[dict[str, Any]] | None = None, **more: Any) -> list[str]:
    return [each.what for each in findings(Record(WELL | (status or {}), steps or FALLING, **more))]


def test_nothing_is_said_of_a_run_that_is_well() -> None:
    assert said(teacher=0.75) == [] and findings(Record({}, [])) == []


@pytest.mark.parametrize(
    ("accuracy", "images", "guesses"),
    # Two standard errors above 10 %: 0.1 + 2 sqrt(0.09 / n), 0.15 with 144 images and 0.119 with 1000.
    [(0.149, 144, True), (0.151, 144, False), (0.118, 1000, True), (0.121, 1000, False)],
)
def test_guessing_is_told_from_learning_by_the_number_of_images(accuracy: float, images: int, guesses: bool) -> None:
    status = {"best": {"accuracy": accuracy}, "data": {"classes": 10, "validation": images}}
    assert any(text.startswith("Its best validation accuracy") for text in said(status)) == guesses


def test_of_a_handful_of_images_nobody_says_that_all_right_is_guessing() -> None:
    """Two of two: two standard errors above a half are more than all."""
    found = said({"best": {"accuracy": 1.0}, "data": {"classes": 2, "validation": 2}})
    assert found == ["2 validation images cannot tell accuracies apart that differ by less than 38 points."]


@pytest.mark.parametrize(("images", "few"), [(395, True), (396, False)])
def test_validation_that_is_too_small_for_what_methods_differ_by(images: int, few: bool) -> None:
    """At a half: 2 sqrt(0.25 / (n + 4)) is five points with 396 images."""
    found = said({"best": {"accuracy": 0.5}, "data": {"classes": 10, "validation": images}})
    assert [text.startswith(f"{images} validation images cannot tell") for text in found] == [True] * few


def test_a_run_that_has_just_begun_is_not_said_to_guess() -> None:
    status = {"best": {"accuracy": 0.1}, "progress": {"epoch": 4, "epochs": 10, "steps": 20}}
    assert said(status) == []


def test_a_loss_that_does_not_move() -> None:
    still = [step(2.3 + 0.001 * (number % 3), ce=1.0, kd=0.5) for number in range(30)]
    assert said(steps=still) == ["The loss has hardly moved: 2.3 at first, 2.3 now."]
    assert said(steps=still[:10]) == [], "too few to say"


def test_fewer_steps_than_a_schedule_needs() -> None:
    assert said({"progress": {"epoch": 3, "epochs": 3, "steps": 33}}) == ["The whole run is 99 steps."]
    assert said({"progress": {"epoch": 4, "epochs": 4, "steps": 25}}) == []


def test_a_teacher_that_is_no_better() -> None:
    assert said(teacher=0.69) == ["The student (70.0 %) is better than the teacher (69.0 %)."]
    assert said(teacher=0.699) == []


LONG = {"weights_of_long_runs": [["Attention weight", 1000.0, 10.0]]}


@pytest.mark.parametrize(("epochs", "said_of"), [(239, True), (240, False)])
def test_a_weight_of_long_runs_in_one_that_sees_less_than_a_tenth_of_their_images(epochs: int, said_of: bool) -> None:
    """5,000 images in 240 epochs are 1.2 million."""
    status = LONG | {"data": {"classes": 10, "validation": 1000, "train": 5000}}
    found = said(status | {"progress": {"epoch": epochs, "epochs": epochs, "steps": 20}})
    sentence = "Attention weight is 1000, as in public recipes for 12 million images; this run sees 1,195,000."
    assert found == [sentence] * said_of


@pytest.mark.parametrize("damaged", [["Attention weight"], [1000.0, 10.0], ["a", "b", "c"], 7, None])
def test_a_weight_that_a_damaged_status_lists_is_nothing(damaged: Any) -> None:
    data = {"classes": 10, "validation": 1000, "train": 5000}
    assert said({"weights_of_long_runs": [damaged, *LONG["weights_of_long_runs"]], "data": data}) == [
        "Attention weight is 1000, as in public recipes for 12 million images; this run sees 50,000."
    ]


@pytest.mark.parametrize(("given", "left"), [({}, [["Attention weight", 1000.0, 10.0]]), ({"at_weight": 10.0}, [])])
def test_a_run_notes_which_weights_of_long_runs_were_left(
    workspace: Workspace, given: dict[str, float], left: list[Any]
) -> None:
    teacher = {"spec": {"student": "resnet8", "method": "none", "recipe": {"epochs": 1}}}
    folder = run(tiny_spec(method={"name": "at", **given}, teacher=teacher), workspace=workspace).path
    status = workspace.run(folder.name).status()
    assert status["weights_of_long_runs"] == left
    assert any(what.startswith("Attention weight is 1000") for what, _ in status["findings"]) == bool(left)


def test_terms_out_of_all_proportion() -> None:
    small = said(steps=[step(2.0 - 0.1 * n, ce=1.0, kd=0.5, far_off=0.0009) for n in range(20)])
    assert small == ["The loss term far off is less than a thousandth of the loss."]
    both = said(steps=[step(2.0 - 0.1 * n, ce=1.0, kd=101.0) for n in range(20)])
    assert both == ["The loss term kd is more than a hundred times all others together."]
    assert said(steps=[step(2.0 - 0.1 * n, ce=1.0, kd=99.0) for n in range(20)]) == []
    once = [*[step(2.0 - 0.1 * n, ce=1.0, kd=0.0001) for n in range(19)], step(0.1, ce=1.0, kd=0.5)]
    assert said(steps=once) == [], "a term that counts now and then counts"
    assert said(steps=[step(2.0 - 0.1 * n, ce=1.0) for n in range(20)]) == [], "one term is all of the loss"


def test_a_run_keeps_what_was_found_and_says_it_in_log_and_card(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        done = run(tiny_spec(), workspace=workspace)
    folder = workspace.run(done.run_id)
    expected = of_run(folder)
    assert "The whole run is 12 steps." in [each.what for each in expected]
    assert kept(folder.status()) == expected
    assert "The whole run is 12 steps. That is fewer" in caplog.text
    exported = export(folder, workspace, tmp_path / "exported", Request(images=8))
    card = (exported.folder / "README.md").read_text()
    assert "## Before you rely on these numbers" in card and "- The whole run is 12 steps." in card


def test_a_table_says_of_which_arm_it_is_true_and_of_how_many_runs(workspace: Workspace) -> None:
    plan = make_plan("doubted", {"data": "digits", "student": "resnet20"}, ["byot"], range(3), cutmix=False)
    found = [["It guesses at 11.0 %.", "Look."], ["It guesses at 12.0 %.", "Look."], ["Another thing.", "Do."]]
    for number, cell in enumerate(plan.cells):
        folder = finish(workspace, cell.spec, 50.0, f"run-{number}")
        if cell.arm == "byot":
            folder.update_status(findings=[found[cell.seed]])
    now = report(progress(plan, workspace))
    assert now.doubts == (
        "byot, 2 of 3 runs: It guesses at 11.0 %. Look.",
        "byot, 1 of 3 runs: Another thing. Do.",
    )
    assert set(now.doubts) <= set(notes(now))
    for kind in ("markdown", "latex", "html"):
        assert "2 of 3 runs: It guesses" in FORMATS[kind](now)
    assert len(list(csv.reader(FORMATS["csv"](now).splitlines()))) == 3


@pytest.mark.parametrize(("promised", "doubted"), [(0.72, True), (0.86, False), (0.70, False)])
def test_a_search_whose_promise_validation_cannot_tell_from_luck(
    workspace: Workspace, promised: float, doubted: bool
) -> None:
    """With 96 images two standard errors are 9 points at 0.72 and 7.3 at 0.86."""
    plan = make_plan("lucky", {"data": "digits", "student": "resnet20"}, ["byot"], range(2), cutmix=False)
    values = {"recipe.lr": 0.02}
    search = Search(
        arm="byot", study="s", values=values, trials=4, epochs=40, validation=promised, default=0.70
    )  # fmt: skip
    plan = with_tuned(plan, search)
    for number, cell in enumerate(plan.cells):
        finish(workspace, cell.spec, 50.0, f"run-{number}").update_status(data={"validation": 96})
    doubts = report(progress(plan, workspace)).doubts
    assert [text.startswith("byot, tuned: the search promises 2.0 points on 96") for text in doubts] == [True] * doubted


@pytest.mark.parametrize("damaged", [None, "x", [["only one"]], [1, 2], {"a": 1}])
def test_what_is_no_list_of_pairs_is_nothing(damaged: Any) -> None:
    assert kept({"findings": damaged}) == []
    assert kept({"findings": [["a", "b"]]}) == [Finding("a", "b")]
