"""Every method on a GPU that is not there: no step waits for the device, and a run resumes, records and ends right."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import TinyNet
from test_loop import assert_equal_ends, make_trainer, reached, same, told

from kdengine.errors import Stopped
from kdengine.methods import get_method, list_methods
from kdengine.models import Backbone
from kdengine.testing.fake_gpu import Watch, fake_gpu
from kdengine.training import checkpoint
from kdengine.training.capture import WARM_UP
from kdengine.training.hardware import configure
from kdengine.training.loop import Trainer

GPU = torch.device("cuda")
MIXED = {"mixup": 0.4, "cutmix": 1.0}


MAY_WAIT = {
    (
        "data/batches/loader.py",
        "_prepare",
    ): "meta batches: order and draws go to the device once a pass",
    ("data/batches/loader.py", "_keep"): "meta batches: their images go to the device once, where they may stay",
}
"""What may make the host wait within a step, and why: (file of the engine, function) -> reason."""


@pytest.fixture
def gpu() -> Iterator[Watch]:
    with fake_gpu(allowed=dict(MAY_WAIT)) as watch:
        yield watch


def with_dropout() -> Backbone:
    return TinyNet(4, dropout=0.2)


def on_gpu(path: Path, method: str, *, runtime: dict[str, Any] | None = None, **options: Any) -> Trainer:
    trainer = make_trainer(path, method, runtime=runtime, device=GPU, student=with_dropout, **options)
    configure(trainer.spec.runtime, GPU, threads=1)
    return trainer


CASES = [pytest.param(name, {}, {}, id=name) for name in list_methods()]
CASES += [pytest.param(name, {}, MIXED, id=f"{name}-mixed") for name in list_methods() if get_method(name).mixes]
CASES += [
    pytest.param("grkd", {"meta_every": 2, "meta": "both", "first_stage": 1}, {}, id="grkd-often-both"),
    pytest.param("ama_self", {"mask": "hard"}, {}, id="ama_self-hard"),
    pytest.param("none", {}, {"optimizer": "adamw"}, id="none-adamw"),
    pytest.param("kd", {}, MIXED | {"accumulate": 4}, id="kd-mixed-in-parts"),
    pytest.param("ps_kd", {}, {"accumulate": 2}, id="ps_kd-in-parts"),
]


@pytest.mark.parametrize(("method", "params", "recipe"), CASES)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, gpu: Watch, method: str, params: dict[str, Any], recipe: dict[str, Any]
) -> None:
    """Bit for bit under ``deterministic``; no step waits for the device, no operation lacks a deterministic form."""
    options: dict[str, Any] = {"params": params, "ema": 0.9, "clip_norm": 1.0, "label_smoothing": 0.1, "epochs": 2}
    options |= {"runtime": {"deterministic": True}} | recipe
    undisturbed = on_gpu(tmp_path / "undisturbed", method, **options)
    undisturbed.fit()
    steps = undisturbed.train_batches.steps_per_epoch
    trainer = on_gpu(tmp_path / "run", method, **options)
    trainer.stop = partial(reached, trainer, steps + 1)
    with pytest.raises(Stopped):
        trainer.fit()
    torch.rand(17)
    trainer = on_gpu(tmp_path / "run", method, **options)
    assert trainer.resume()
    trainer.fit()
    assert_equal_ends(trainer.run, undisturbed.run)
    assert gpu.steps == 4 * steps


@pytest.mark.parametrize("method", list_methods())
def test_a_gpu_learns_what_the_cpu_learns(tmp_path: Path, method: str) -> None:
    plain = make_trainer(tmp_path / "cpu", method, student=with_dropout, ema=0.9, epochs=2)
    plain.fit()
    with fake_gpu():
        other = on_gpu(tmp_path / "gpu", method, ema=0.9, epochs=2)
        other.fit()
    for one, two in zip(told(plain.run, "epoch", "epoch"), told(other.run, "epoch", "epoch"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert two["validation"]["loss"] == pytest.approx(one["validation"]["loss"], rel=1e-3)


def learnt(trainer: Trainer) -> dict[str, Any]:
    """What a step moves: weights and statistics, the optimiser's state, the average, the sums, the random numbers."""
    state = checkpoint.load(trainer.run.last_checkpoint)
    return {name: state[name] for name in ("module", "ema", "sums", "random")} | {"state": state["optimizer"]["state"]}


@pytest.mark.parametrize("method", list_methods())
def test_a_recorded_step_does_what_a_plain_one_does(
    tmp_path: Path, gpu: Watch, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Bit for bit: nothing is baked in, and neither warm-up nor capture moves what it should not."""
    options: dict[str, Any] = {"ema": 0.9, "clip_norm": 1.0, "epochs": 2}
    plain = on_gpu(tmp_path / "plain", method, **options)
    plain.fit()
    with caplog.at_level(logging.WARNING):
        recorded = on_gpu(tmp_path / "recorded", method, runtime={"cuda_graph": True}, **options)
        recorded.fit()
    assert "not recorded" not in caplog.text
    cls = get_method(method)
    steps = 2 * plain.train_batches.steps_per_epoch
    expected = (1, steps - WARM_UP) if cls.capturable(cls.Params()) else (0, 0)
    assert (gpu.captures, gpu.replays) == expected
    assert same(learnt(recorded), learnt(plain))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_recorded_run_goes_on_from_a_checkpoint_of_a_plain_one(tmp_path: Path, gpu: Watch, optimizer: str) -> None:
    """And the other way round: how a step is taken is no part of the optimiser's state."""
    ends = []
    for first, second in ((False, True), (True, False)):
        path = tmp_path / f"{first}"
        trainer = on_gpu(path, "kd", optimizer=optimizer, lr=0.01, runtime={"cuda_graph": first})
        trainer.stop = partial(reached, trainer, 4)
        with pytest.raises(Stopped):
            trainer.fit()
        trainer = on_gpu(path, "kd", optimizer=optimizer, lr=0.01, runtime={"cuda_graph": second})
        assert trainer.resume()
        trainer.fit()
        ends.append(learnt(trainer))
    assert gpu.replays == (9 - 4 - WARM_UP) + (4 - WARM_UP)
    # AdamW rounds a learning rate that is a tensor once more.
    torch.testing.assert_close(*(each["module"] for each in ends), rtol=1e-5, atol=1e-6)
    assert same(*(each["random"] for each in ends))


def fault(method: str, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any], None]) -> None:
    """Lets a method do something that a GPU minds, in its forward pass."""
    cls = get_method(method)
    forward = cls.forward

    def spoilt(self: Any, batch: Any, *rest: Any) -> Any:
        terms = forward(self, batch, *rest)
        spoil(terms)
        return terms

    monkeypatch.setattr(cls, "forward", spoilt)


def test_what_cannot_be_recorded_is_taken_one_by_one_and_told_once(
    tmp_path: Path, gpu: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = on_gpu(tmp_path / "plain", "kd", ema=0.9)
    plain.fit()
    gpu.allowed[("training/capture.py", "_do")] = "a loss that waits, to see what comes of it"
    gpu.allowed[("training/loop.py", "_step")] = "the same, once the step is taken plainly"
    fault("kd", monkeypatch, lambda terms: terms["ce"].raw.item())
    with caplog.at_level(logging.WARNING):
        trainer = on_gpu(tmp_path / "run", "kd", ema=0.9, runtime={"cuda_graph": True})
        trainer.fit()
    assert caplog.text.count("not recorded as a CUDA graph") == 1
    assert "not permitted when stream is capturing" in caplog.text
    assert trainer.captured is None and gpu.replays == 0
    assert same(learnt(trainer), learnt(plain)), "the step that failed to be recorded is taken once"
