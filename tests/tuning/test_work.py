"""The quick count of a network's work is the exact one, for networks of convolutions and linear layers."""

from __future__ import annotations

import pytest

from kdengine.evaluation.cost import count
from kdengine.models import build_model, list_models
from kdengine.tuning.work import macs_of


@pytest.mark.parametrize("name", list_models())
def test_it_agrees_with_the_exact_count(name: str) -> None:
    net = build_model(name, 10, 32).train()
    assert macs_of(net) == pytest.approx(count(net).macs, rel=0.02)
    assert net.training
