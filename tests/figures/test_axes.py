"""Axes that count: epochs, steps and trials are whole, and so are their ticks."""

from __future__ import annotations

import pytest

from kdengine.figures import studies
from kdengine.figures.curves import accuracy, loss_terms


def events(count: int, kind: str = "epoch") -> list[dict[str, object]]:
    terms = {"ce": {"raw": 1.0, "weighted": 1.0}}
    return [{"kind": kind, kind: n + 1, "validation": {"accuracy": 0.5}, "terms": terms} for n in range(count)]


@pytest.mark.parametrize(("last", "step"), [(2, 1), (12, 1), (13, None), (240, None)])
def test_few_epochs_have_a_tick_each_and_none_between(last: int, step: int | None) -> None:
    trial = studies.Trial(0, "running", None, {1: 50.0, 2: 60.0})
    drawn = (
        accuracy(events(1), label="a", planned=last),
        accuracy(events(last), label="a"),
        loss_terms(events(last), weighted=True),
        loss_terms(events(last, "step"), weighted=False),
        studies.curves([trial], y="accuracy (%)", label="a", planned=last),
    )
    for figure in drawn:
        assert figure.layout.xaxis.dtick == step and figure.layout.xaxis.tickformat == "d"


def test_before_the_first_epoch_the_axis_is_there() -> None:
    assert accuracy([], label="a").layout.xaxis.dtick == 1
    assert not loss_terms([], weighted=True).data
