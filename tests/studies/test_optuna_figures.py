"""Optuna's figures work with the Plotly that is installed, and have the look of the others."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from studies import figures

SPACE = {
    "method.temperature": FloatDistribution(1, 10, log=True),
    "method.kd_weight": FloatDistribution(0, 1),
    "recipe.lr": FloatDistribution(0.01, 0.1, log=True),
    "method.kind": CategoricalDistribution(["a", "b"]),
}


def study_of(count: int, goals: int = 1) -> optuna.Study:
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"][:goals])
    for number in range(count):
        params: dict[str, Any] = {
            "method.temperature": 1.0 + number, "method.kd_weight": (number % 3) / 3, "recipe.lr": 0.01 * (1 + number),
            "method.kind": "ab"[number % 2],
        }  # fmt: skip
        values = [0.5 + 0.05 * number, 1.0 + number, 100.0 - number][:goals]
        study.add_trial(create_trial(params=params, distributions=SPACE, values=values))
    study.add_trial(create_trial(params={}, distributions={}, state=TrialState.PRUNED))
    return study


def every(study: optuna.Study, goals: int = 1) -> dict[str, Any]:
    return {
        "importance": figures.importance(study, "accuracy"),
        "slices": figures.slices(study, "accuracy"),
        "parallel": figures.parallel(study, "accuracy"),
        "contour": figures.contour(study, "accuracy", "method.temperature", "recipe.lr"),
        "front": figures.front(study, ("accuracy", "latency_ms", "parameters")[:goals]),
    }


@pytest.mark.parametrize("goals", [1, 2, 3])
def test_they_draw_and_have_the_common_look(goals: int) -> None:
    for name, figure in every(study_of(6, goals), goals).items():
        assert bool(figure.data) == (name != "front" or goals > 1), name
        assert figure.layout.title.text is None and figure.layout.paper_bgcolor == "rgba(0,0,0,0)", name
        assert figure.layout.width is None and figure.layout.height >= 200, name
        json.loads(figure.to_json())


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_trials_are_told_in_words(count: int) -> None:
    for name, figure in every(study_of(count)).items():
        assert not figure.data and figure.layout.annotations[0].text, name


def test_shares_are_in_percent_and_settings_by_their_last_part() -> None:
    found = every(study_of(6))
    assert list(found["slices"].data[0].y)[:2] == pytest.approx([50, 55])
    assert found["slices"].layout.yaxis.title.text == "validation accuracy (%)"
    assert {axis.title.text for axis in found["slices"].select_xaxes()} == {"temperature", "kd_weight", "lr", "kind"}


def test_a_pair_of_one_setting_is_refused_in_words() -> None:
    figure = figures.contour(study_of(6), "accuracy", "recipe.lr", "recipe.lr")
    assert "two different" in figure.layout.annotations[0].text
