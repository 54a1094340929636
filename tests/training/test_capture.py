"""The step that is recorded once and replayed: what it does around the graph, with a stand-in that needs no GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support import FakeBatch
from test_loop import assert_equal_ends, make_trainer, reached
from torch import Tensor

from kdengine.errors import Stopped
from kdengine.methods import list_methods
from kdengine.training.capture import WARM_UP, CapturedStep, NotCapturable, held_batch
from kdengine.training.loop import Trainer
from kdengine.training.optimisation import build_optimizer, set_rate


class Tape:
    """Records by remembering the work, and replays by doing it again: on the held tensors, as a graph would."""

    def __init__(self) -> None:
        self.warmed = self.recorded = self.replayed = 0

    def warm(self, work: Callable[[], None]) -> None:
        self.warmed += 1
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def again() -> None:
            self.replayed += 1
            work()

        return again


def captured(trainer: Trainer) -> Tape:
    tape = Tape()
    trainer.captured = CapturedStep(trainer._step, tape)
    return tape


@pytest.mark.parametrize("method", list_methods())
def test_recorded_steps_end_where_plain_ones_end(tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture) -> None:
    plain = make_trainer(tmp_path / "plain", method)
    plain.fit()
    other = make_trainer(tmp_path / "captured", method)
    tape = captured(other)
    with caplog.at_level(logging.WARNING):
        other.fit()
    assert_equal_ends(other.run, plain.run)
    steps = 3 * plain.train_batches.steps_per_epoch
    if "not recorded" in caplog.text:
        assert other.captured is None and method == "mix_skd", "its batch holds a number"
    else:
        assert (tape.warmed, tape.recorded, tape.replayed) == (WARM_UP, 1, steps - WARM_UP)


def test_a_recorded_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    undisturbed = make_trainer(tmp_path / "undisturbed", "kd", ema=0.9, clip_norm=1.0)
    captured(undisturbed)
    undisturbed.fit()
    trainer = make_trainer(tmp_path / "run", "kd", ema=0.9, clip_norm=1.0)
    captured(trainer)
    trainer.stop = lambda: reached(trainer, 5)
    with pytest.raises(Stopped):
        trainer.fit()
    trainer = make_trainer(tmp_path / "run", "kd", ema=0.9, clip_norm=1.0)
    captured(trainer)
    assert trainer.resume()
    trainer.fit()
    assert_equal_ends(trainer.run, undisturbed.run)


def test_held_tensors_stay_where_they_are() -> None:
    """A graph reads addresses: every step must write into the same memory."""
    seen: list[tuple[int, float]] = []

    def work(batch: FakeBatch, answers: object) -> dict[str, object]:
        seen.append((batch.image.data_ptr(), float(batch.image.mean())))
        return {}

    step = CapturedStep(work, Tape())  # type: ignore[arg-type]
    for number in range(WARM_UP + 3):
        image = torch.full((2, 3, 4, 4), float(number))
        step(FakeBatch((image,), torch.zeros(2), torch.arange(2)), None)
    assert [value for _, value in seen] == list(range(WARM_UP + 3))
    assert len({place for place, _ in seen[WARM_UP:]}) == 1


@dataclass(frozen=True)
class WithNumber(FakeBatch):
    share: float = 0.5


def test_a_batch_with_a_number_is_not_recorded() -> None:
    plain = FakeBatch((torch.zeros(1),), torch.zeros(1), torch.zeros(1))
    held = held_batch(plain)
    assert held.image is not plain.image and torch.equal(held.image, plain.image)
    with pytest.raises(NotCapturable, match="share is of type float"):
        held_batch(WithNumber(*vars(plain).values()))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_rate_of_a_recorded_step_is_a_tensor_of_each_group(tmp_path: Path, optimizer: str) -> None:
    recipe = make_trainer(tmp_path / "run").recipe.model_copy(update={"optimizer": optimizer})
    weights: list[Tensor] = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "lr_factor": 0.5}]
    built = build_optimizer(recipe, groups, fused=False, capturable=True)
    rates = [group["lr"] for group in built.param_groups]
    set_rate(built, 0.2)
    assert [float(rate) for rate in rates] == pytest.approx([0.2, 0.1])
    assert all(group["lr"] is rate for group, rate in zip(built.param_groups, rates, strict=True))
