"""Who only looks computes where no run trains: on a free GPU, else on the CPU, and says so."""

from __future__ import annotations

from typing import Any

import pynvml
import pytest
from fake_nvml import FIRST, SECOND, SLICES, Card, FakeNvml, divided

from kdengine.jobs.beside import beside_training
from kdengine.machine.nvml import Nvml
from kdengine.workspace.states import State

ONE, TWO = FakeNvml(Card(FIRST)), FakeNvml(Card(FIRST), Card(SECOND))


@pytest.mark.parametrize(
    ("machine", "value", "held", "wanted", "expected"),
    [
        (ONE, None, None, "auto", "auto"),
        (ONE, None, FIRST, "auto", "cpu"),
        (ONE, None, FIRST, "cuda", "cpu"),
        (ONE, None, FIRST, "cuda:0", "cpu"),
        (ONE, None, FIRST, "cpu", "cpu"),
        (ONE, None, "", "auto", "auto"),
        (TWO, None, FIRST, "auto", "cuda:1"),
        (TWO, None, SECOND, "auto", "cuda:0"),
        (TWO, None, FIRST, "cuda:0", "cpu"),
        (TWO, None, FIRST, "cuda:1", "cuda:1"),
        (TWO, "1,0", FIRST, "auto", "cuda:0"),
        (TWO, "0", SECOND, "auto", "auto"),
        (FakeNvml(divided()), None, SLICES[0], "auto", "cpu"),
        (FakeNvml(divided()), None, SLICES[1], "auto", "cuda:0"),
        (FakeNvml(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND), None, "", "auto", "auto"),
    ],
)
def test_where_to_look(
    house: Any, machine: FakeNvml, value: str | None, held: str | None, wanted: str, expected: str
) -> None:
    house.submit("a")
    if held is not None:
        house.store.change("a", {State.QUEUED}, state=State.RUNNING, slot="gpu:0" if held else "cpu:0", device=held)
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    place = beside_training(house.workspace, wanted, Nvml(machine).inventory, environment)
    assert place.device == expected
    moved_to_cpu = expected == "cpu" != wanted
    assert ("a trains on the GPU" in place.why) == moved_to_cpu and bool(place.why) == moved_to_cpu
    house.store.change("a", set(State), state=State.FINISHED)
    assert beside_training(house.workspace, wanted, Nvml(machine).inventory, environment).device == wanted


def test_a_run_from_a_shell_holds_its_card_too(house: Any) -> None:
    house.submit("a")
    house.store.change("a", {State.QUEUED}, state=State.RUNNING, slot=None, device=None)
    ask = lambda: beside_training(house.workspace, "auto", Nvml(TWO).inventory, {}).device  # noqa: E731
    assert ask() == "auto", "nothing is known of it yet"
    house.workspace.run("a").write_environment({"device": "cuda:1"})
    assert ask() == "cuda:0"
    house.workspace.run("a").write_environment({"device": "cpu"})
    assert ask() == "auto"
