"""The measuring itself: turns are shared fairly, ratios are right, arms do the same, and the command says so."""

from __future__ import annotations

import json
import time

import pytest
import torch

from kdengine.bench import Arm, Pair, measure, roofline
from kdengine.bench.ceilings import Ceilings
from kdengine.bench.engine import Switches, engine_arm, frozen, trainer
from kdengine.bench.gates import gates, same_logits, same_losses
from kdengine.bench.reference import PilBatches, reference_arm
from kdengine.cli import main
from kdengine.methods import list_methods
from kdengine.models import build_model

CPU = torch.device("cpu")
SMALL = Pair("resnet20", "resnet8x4", 16, batch_size=8, classes=10, images=64)


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_ratios_are_those_of_the_work() -> None:
    arms = [
        Arm("slow", lambda: busy(0.03), 10),
        Arm("quick", lambda: busy(0.01), 10),
        Arm("again", lambda: busy(0.03), 10),
    ]
    measured = measure(arms, device=CPU, rounds=5, steps=2, warm_up=1)
    assert {len(turns) for turns in measured.turns.values()} == {5}
    assert sorted(measured.ratios("quick", "slow"))[2] == pytest.approx(3, rel=0.2)
    assert sorted(measured.ratios("again", "slow"))[2] == pytest.approx(1, rel=0.2)


def test_every_arm_has_a_turn_in_each_round_in_changing_order() -> None:
    order: list[str] = []
    arms = [Arm(name, lambda name=name: order.append(name), 1) for name in "abcd"]  # type: ignore[misc]
    measure(arms, device=CPU, rounds=6, steps=1, warm_up=0)
    steps_of_turns = list(zip(order[::2], order[1::2], strict=True))
    assert all(settling == timed for settling, timed in steps_of_turns)
    rounds = [tuple(order[start : start + 8 : 2]) for start in range(0, 48, 8)]
    assert all(sorted(turns) == list("abcd") for turns in rounds) and len(set(rounds)) > 1


def test_workers_of_an_arm_are_counted_and_ended() -> None:
    batches = PilBatches(SMALL, workers=1)
    arm = reference_arm("plain", SMALL, workers=1)
    measured = measure([arm], device=CPU, rounds=1, steps=2, warm_up=1)
    assert arm.workers() and measured.turns["plain"][0].cpu > 0
    arm.close()
    batches.close()


def test_all_arms_do_the_same() -> None:
    switches = {"engine": Switches(), "contiguous": Switches(channels_last=False), "not folded": Switches(fold=False)}
    found = list(gates(SMALL, switches))
    assert len(found) == 7 and all(gate.passed for gate in found), found


def test_a_gate_shuts_when_an_arm_does_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdengine.bench.reference.numbers.KD_WEIGHT", 0.8)
    assert not same_losses(SMALL, "engine", Switches()).passed
    other = Pair("resnet20", "resnet8x4", 16, batch_size=8, classes=10, images=64)
    teacher = frozen(other, Switches(measured=False))  # a way that was measured may keep weights of its own
    with torch.no_grad():
        next(teacher._net.parameters()).mul_(1.01)
    monkeypatch.setattr("kdengine.bench.gates.frozen", lambda pair, switches: teacher)
    assert not same_logits(SMALL, "engine", Switches()).passed


@pytest.mark.parametrize("method", list_methods())
def test_every_method_can_be_timed(method: str) -> None:
    pair = Pair("resnet20", "resnet20_light" if method == "light_self" else "resnet20", 16, 8, classes=4, images=32)
    arm = engine_arm(method, pair, Switches(), method)
    arm.step()


def test_the_roofline_counts_what_the_flop_counter_counts() -> None:
    net = build_model("resnet20", 10, 32)
    found = roofline.work(net)
    assert found.operations == pytest.approx(2 * 40.8e6, rel=0.02)
    limits = Ceilings(flops=1e12, bytes=1e30)
    assert roofline.seconds(found, None, limits, 64) == pytest.approx(3 * found.operations / 1e12)
    assert roofline.seconds(found, found, limits, 64) == pytest.approx(4 * found.operations / 1e12)
    slow = Ceilings(flops=1e30, bytes=1e9)
    assert roofline.seconds(found, None, slow, 64) > 8 * 4 * found.maps / 1e9
    half = roofline.seconds(found, None, slow._replace(bytes_each=2), 64)
    assert half == pytest.approx(roofline.seconds(found, None, slow, 64) / 2)


def test_the_command_prints_arms_and_gates(capsys: pytest.CaptureFixture[str]) -> None:
    words = "bench --teacher resnet20 --student resnet8x4 --image-size 16 --batch-size 8 --rounds 2 --steps 1 --json"
    assert main([*words.split(), "--device", "cpu", "--threads", "1"]) == 0
    told = capsys.readouterr()
    assert "equal: images against PIL" in told.err and "DIFFERENT" not in told.err
    arms = {row["arm"]: row for row in json.loads(told.out)["arms"]}
    assert set(arms) == {"plain loop", "engine", "engine, cached teacher logits"}
    assert arms["plain loop"]["cpu_ratio"] == [1.0, 1.0] and arms["engine"]["images_per_s"] > 0


def test_bad_numbers_are_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--rounds", "0", "--batch-size", "1", "--threads", "0"]) == 2
    told = capsys.readouterr().err
    assert "--rounds" in told and "--batch-size" in told and "--threads" in told


def test_nothing_is_written_by_steps() -> None:
    from kdengine.bench.engine import NOWHERE, loader

    loop = trainer(SMALL, Switches(), loader(SMALL, Switches()))
    loop.module.train()
    loop.train_step(next(loader(SMALL, Switches()).epoch(0)))
    assert not NOWHERE.path.exists()
