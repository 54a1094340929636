"""What a GPU computes in: its own bfloat16, float16 with scaled gradients, TF32 when asked for, float32 when needed."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from support import NORM, TinyNet, random_loader, tiny_spec
from test_loop import assert_equal_ends, make_trainer, reached, told, weights
from torch import nn

from kdengine.errors import BadInput, Stopped
from kdengine.methods import list_methods
from kdengine.models import build_model, folding
from kdengine.spec import RuntimeSpec
from kdengine.testing.fake_gpu import fake_gpu
from kdengine.training import checkpoint
from kdengine.training.hardware import choose_precision, configure, describe
from kdengine.training.loop import Trainer
from kdengine.training.teacher import FrozenTeacher

GPU = torch.device("cuda")


def in_float16(path: Path, method: str, growth_interval: int = 1, init_scale: float = 65536, **recipe: Any) -> Trainer:
    net = partial(TinyNet, 4, dropout=0.2)
    trainer = make_trainer(path, method, student=net, device=GPU, reduced=torch.float16, **recipe)
    trainer.scaler = torch.amp.GradScaler("cuda", init_scale=init_scale, growth_interval=growth_interval)
    return trainer


@pytest.mark.parametrize(
    ("asked", "fast", "expected"),
    [
        ("auto", True, "bf16"),
        ("auto", False, "fp16"),
        ("fp32", True, "fp32"),
        ("tf32", True, "tf32"),
        ("bf16_teacher", True, "bf16_teacher"),
        ("fp16", True, "fp16"),
    ],
)
def test_what_a_card_computes_in(asked: str, fast: bool, expected: str) -> None:
    with fake_gpu(bf16=fast):
        found = choose_precision(asked, GPU)
        configure(RuntimeSpec(precision=asked), GPU, threads=1)
        switches = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        assert describe(GPU, 1, found)["precision"] == found.word == expected
    assert switches == (expected == "tf32",) * 2


@pytest.mark.parametrize("asked", ["bf16", "bf16_teacher", "tf32"])
def test_an_older_card_is_not_asked_for_what_it_would_emulate(asked: str) -> None:
    with fake_gpu(bf16=False), pytest.raises(BadInput, match=r"runtime\.precision: this cuda has no"):
        choose_precision(asked, GPU)


def test_each_card_is_asked_about_itself() -> None:
    with fake_gpu(cards=2, bf16=(True, False)) as watch:
        assert [choose_precision("auto", torch.device("cuda", n)).word for n in range(2)] == ["bf16", "fp16"]
        assert watch.index == 0, "asking changes no device"
        configure(RuntimeSpec(device="cuda:1"), torch.device("cuda:1"), threads=1)
        assert watch.index == 1, "graphs and libraries work on the current one"


@pytest.mark.parametrize("asked", ["tf32", "fp16"])
def test_a_cpu_refuses_what_it_does_not_have(asked: str) -> None:
    with pytest.raises(BadInput, match="choose fp32 or auto"):
        choose_precision(asked, torch.device("cpu"))


def test_the_word_is_part_of_what_decides_the_result() -> None:
    prints = {word: tiny_spec(runtime={"precision": word}).fingerprint() for word in ("fp32", "tf32", "fp16", "auto")}
    assert len(set(prints.values())) == 4


def test_tf32_rounds_and_fp32_does_not(tmp_path: Path) -> None:
    ends = {}
    for card in (False, True):
        for asked in ("fp32", "tf32"):
            with fake_gpu(tf32=card):
                trainer = make_trainer(tmp_path / f"{card}-{asked}", "kd", device=GPU, runtime={"precision": asked})
                configure(trainer.spec.runtime, GPU, threads=1)
                trainer.fit()
            ends[card, asked] = told(trainer.run, "epoch", "epoch")[-1]["loss"]
    assert ends[True, "fp32"] == ends[False, "fp32"] == ends[False, "tf32"]
    assert 1e-7 < abs(ends[True, "tf32"] / ends[True, "fp32"] - 1) < 1e-2


@pytest.mark.parametrize("method", list_methods())
def test_float16_resumes_bit_for_bit_with_its_scale(tmp_path: Path, method: str) -> None:
    with fake_gpu(bf16=False):
        undisturbed = in_float16(tmp_path / "undisturbed", method, clip_norm=1.0, epochs=1)
        undisturbed.fit()
        path = tmp_path / "run"
        trainer = in_float16(path, method, clip_norm=1.0, epochs=1)
        trainer.stop = partial(reached, trainer, 2)
        with pytest.raises(Stopped):
            trainer.fit()
        trainer = in_float16(path, method, growth_interval=2000, clip_norm=1.0, epochs=1)
        assert trainer.resume()
        trainer.fit()
        assert_equal_ends(trainer.run, undisturbed.run)
        kept = checkpoint.load(trainer.run.last_checkpoint)
    # Doubled or halved three times: it cannot be what it began with.
    assert kept["scaler"]["growth_interval"] == 1 and kept["scaler"]["scale"] != 65536
    assert all(value.dtype == torch.float32 for value in weights(trainer.run).values() if value.is_floating_point())


def test_a_step_whose_gradients_overflow_is_left_out(tmp_path: Path) -> None:
    with fake_gpu(bf16=False):
        trainer = in_float16(tmp_path / "run", "none", init_scale=2.0**30)
        before = copy.deepcopy(trainer.module.student.classifier.weight)
        trainer.module.train()
        trainer.train_step(next(iter(trainer.train_batches.epoch(0))))
        assert torch.equal(trainer.module.student.classifier.weight, before)
        assert trainer.scaler.get_scale() == 2.0**29
        for state in trainer.optimizer.state.values():
            assert not state["momentum_buffer"].any(), "what the step would have begun with stays what it was"


def test_losses_of_a_step_in_float16_are_float32(tmp_path: Path) -> None:
    with fake_gpu(bf16=False):
        for method in list_methods():
            trainer = in_float16(tmp_path / method, method)
            trainer.module.train()
            batch = next(iter(trainer.train_batches.epoch(0)))
            terms = trainer._step(trainer.module.method.prepare(batch), None)
            assert {term.raw.dtype for term in terms.values()} == {torch.float32}, method


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv3_small", "wrn_16_2"])
def test_a_teacher_is_folded_under_tf32_as_in_full_precision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_model(name, 4, 32)
    count = sum(isinstance(module, nn.BatchNorm2d) for module in folding.folded(network).modules())
    copies = []
    whole = copy.deepcopy
    monkeypatch.setattr(folding.copy, "deepcopy", lambda net: copies.append(1) or whole(net))  # type: ignore[func-returns-value]
    with fake_gpu(tf32=True):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        mean, std = NORM
        teacher = FrozenTeacher(network, mean=mean, std=std, batch_mean=mean, batch_std=std, device=GPU)
        assert torch.backends.cudnn.allow_tf32, "only the check is in full precision"
    assert sum(isinstance(module, nn.BatchNorm2d) for module in teacher._net.modules()) == count
    assert len(copies) == 1


def test_pictures_that_do_not_fit_on_the_card_are_read_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdengine.data.batches import loader

    kept = list(random_loader().epoch(0))
    real = loader.packed

    class TooLarge:
        def to(self, device: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

    def packed(part: Any, ids: Any, padding: int) -> Any:
        return TooLarge() if len(ids) == len(part) else real(part, ids, padding)

    monkeypatch.setattr(loader, "packed", packed)
    read = random_loader()
    found = list(read.epoch(0))
    assert not read.resident
    assert all(torch.equal(one.image, other.image) for one, other in zip(found, kept, strict=True))
