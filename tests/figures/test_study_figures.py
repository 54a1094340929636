"""Figures of a study: what they draw of small arrays."""

from __future__ import annotations

from kdengine.figures import style
from kdengine.figures.studies import Trial, curves, empty, history, shade

TRIALS = [
    Trial(0, "complete", 80.0, {1: 60.0, 2: 80.0}),
    Trial(1, "pruned", None, {1: 50.0}),
    Trial(2, "complete", 90.0, {1: 70.0, 2: 90.0}),
    Trial(3, "complete", 85.0, {1: 85.0, 2: 84.0}),
    Trial(4, "running", None, {1: 40.0}),
    Trial(5, "waiting", None, {}),
]


def named(figure: object) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data}  # type: ignore[attr-defined]


def test_history_shows_values_the_best_so_far_and_the_default() -> None:
    figure = history(TRIALS, y="accuracy (%)", label="a", default=80.0)
    traces = named(figure)
    assert list(traces["trials"].x) == [0, 2, 3] and list(traces["trials"].y) == [80, 90, 85]
    assert list(traces["best so far"].y) == [80, 90, 90, 90]
    assert set(traces["default"].y) == {80.0}
    assert figure.layout.yaxis.title.text == "accuracy (%)" and figure.layout.template.layout.font.size is None


def test_of_a_loss_less_is_better() -> None:
    figure = history(TRIALS, y="loss", label="a", maximize=False)
    assert list(named(figure)["best so far"].y) == [80, 80, 80, 80]
    assert "default" not in named(figure)


def test_curves_are_joined_by_what_became_of_their_trials() -> None:
    figure = curves(TRIALS, y="accuracy (%)", label="a", best=2, planned=2)
    traces = named(figure)
    assert list(traces) == ["pruned", "complete", "under way", "best, trial 2"]
    assert traces["pruned"].line.color == style.GREY and list(traces["pruned"].y) == [50, None]
    # A gap between two curves: a line must not run from the end of one to the start of the next.
    assert list(traces["complete"].x) == [1, 2, None, 1, 2, None]
    assert list(traces["complete"].text) == list("000333")


def test_a_study_without_trials_says_what_will_come() -> None:
    for figure in (history([], y="y", label="a"), curves(TRIALS[5:], y="y", label="a"), empty("Not yet.")):
        assert not figure.data and len(figure.layout.annotations) == 1


def test_shades_run_through_the_scale_and_stop_at_its_ends() -> None:
    assert shade(-1) == shade(0) != shade(0.5) != shade(1) == shade(2)
