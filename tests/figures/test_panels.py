"""Lines in panels: smoothing, labels that do not meet, one axis and one cursor; the curves of a run and of several."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from kdengine.figures.overlay import COLOURS, MAX_RUNS, RunLine, overlay
from kdengine.figures.panels import Line, Panel, apart, draw, smooth
from kdengine.figures.run_curves import run_curves


def epochs(*accuracies: float) -> list[dict[str, object]]:
    return [
        {"kind": "epoch", "epoch": number, "validation": {"accuracy": value, "loss": 2 - value}, "terms": {}}
        for number, value in enumerate(accuracies, 1)
    ]


def steps(count: int, an_epoch: int) -> list[dict[str, object]]:
    terms = {"ce": {"raw": 4.0, "weighted": 2.0}, "soft_target": {"raw": 9.0, "weighted": 0.9}}
    return [
        {"kind": "step", "step": step, "epoch": (step - 1) // an_epoch + 1, "terms": terms, "lr": 0.1,
         "images_per_s": 100.0 + step}
        for step in range(1, count + 1)
    ]  # fmt: skip


def test_smoothing_is_the_mean_of_what_came_corrected_for_its_start() -> None:
    assert smooth([4.0, 8.0], 0.5) == pytest.approx([4.0, (0.25 * 4 + 0.5 * 8) / 0.75])
    assert smooth([5.0, None, 5.0], 0.9) == [pytest.approx(5.0), None, pytest.approx(5.0)]
    assert smooth([1.0, 2.0], 0.0) == [1.0, 2.0]
    assert math.isnan(smooth([math.nan, 3.0], 0.5)[0] or 0) and smooth([math.nan, 3.0], 0.5)[1] == pytest.approx(3.0)


@pytest.mark.parametrize("wanted", [[0.5, 0.5, 0.5], [1.0, 0.99, 0.98], [0.0, 0.01, 0.9], [0.3], []])
def test_labels_keep_their_order_and_their_distance(wanted: list[float]) -> None:
    places = apart(wanted, 0.1)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    found = [places[index] for index in order]
    assert all(0 <= place <= 1 for place in found)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(found))


def test_more_labels_than_fit_are_spread_evenly() -> None:
    assert sorted(apart([0.5] * 5, 0.6)) == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_curves_of_a_run_share_one_axis_and_one_cursor() -> None:
    figure = run_curves(epochs(0.5, 0.75), steps(20, 10), label="r", teacher=0.9, planned=3)
    assert figure.layout.hovermode == "x unified" and figure.layout.hoversubplots == "axis"
    assert {trace.xaxis for trace in figure.data} == {None}, "all on the same"
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["student"].y) == [50, 75] and list(by_name["teacher"].y) == [90, 90]
    assert by_name["soft target"].y[0] == 0.9 and by_name["ce"].x[-1] == 2.0, "20 steps of 10 are two epochs"
    raw = run_curves(epochs(0.5), steps(20, 10), label="r", weighted=False)
    assert {trace.name: trace for trace in raw.data}["soft target"].y[0] == 9.0
    assert raw.layout.uirevision != figure.layout.uirevision


def test_the_loss_axis_is_logarithmic_when_asked_and_possible() -> None:
    def kinds(log: bool) -> list[str]:
        figure = run_curves(epochs(0.5), steps(4, 2), label="r", log=log)
        return [figure.layout.yaxis.type, figure.layout.yaxis2.type]

    assert kinds(False) == ["linear", "linear"] and kinds(True) == ["linear", "log"]
    below = draw([Panel("loss", [Line("a", [1, 2], [-1.0, 2.0], "#000000")], log=True)], x="epoch", key="k", height=200)
    assert below.layout.yaxis.type == "linear", "a logarithm of what is below zero there is none"


def test_smoothed_curves_are_drawn_over_the_values_and_the_teacher_is_not() -> None:
    figure = run_curves(epochs(0.0, 1.0), steps(4, 2), label="r", teacher=0.9, smoothing=0.5)
    student = [trace for trace in figure.data if trace.name == "student"]
    assert [list(trace.y) for trace in student] == [[0, 100], pytest.approx([0, 200 / 3])]
    assert len([trace for trace in figure.data if trace.name == "teacher"]) == 1


def test_a_run_that_has_logged_nothing_can_be_drawn() -> None:
    assert run_curves([], [], label="r").layout.annotations[-1].text.startswith("the first accuracy")
    assert len(overlay([]).data) == 0


def test_several_runs_have_a_colour_or_stroke_each_and_a_label_at_their_end() -> None:
    runs = [RunLine(f"run <{number}>", epochs(0.1 * number, 0.05 * number)) for number in range(MAX_RUNS + 2)]
    figure = overlay(runs)
    accuracy = [trace for trace in figure.data if trace.yaxis == "y"]
    looks = {(trace.line.color, trace.line.dash) for trace in accuracy}
    assert len(accuracy) == MAX_RUNS == len(looks) and len(COLOURS) == len(set(COLOURS))
    labels = [note.text for note in figure.layout.annotations if note.x == 1]
    assert len(labels) == 2 * MAX_RUNS and "run &lt;3&gt;" in labels[3]
    assert list(accuracy[2].y) == pytest.approx([20, 10])
    loss = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert list(loss[2].y) == pytest.approx([1.8, 1.9])
    assert [trace.line.color for trace in loss] == [trace.line.color for trace in accuracy]


def test_long_runs_are_thinned_to_what_a_screen_shows() -> None:
    figure = run_curves(epochs(*([0.5] * 3000)), steps(20_000, 10), label="r")
    assert all(len(trace.x) <= 1000 for trace in figure.data)
    assert len(figure.to_json()) < 300_000
