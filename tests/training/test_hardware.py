"""How many threads a run takes, and what it computes in bfloat16."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from kdengine.errors import BadInput
from kdengine.models.backbone import build_model
from kdengine.spec import RuntimeSpec
from kdengine.training.hardware import (
    available_cores,
    choose_precision,
    configure,
    default_threads,
)
from kdengine.training.teacher import FrozenTeacher

CPU = torch.device("cpu")
PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "batch_mean": (0.5,) * 3, "batch_std": (0.25,) * 3}


@pytest.fixture
def fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine says that it has AMX; bfloat16 computes right, if slowly, on any."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("said", "expected"), [("3", 3), (" 2,1", 2), ("", None), ("0", None), ("-1", None), ("all", None)]
)
def test_the_environment_is_asked(said: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", said)
        assert default_threads() == (expected or available_cores())
    assert available_cores() == len(os.sched_getaffinity(0))


def test_what_the_run_names_wins_and_its_first_attempt_wins_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "3")
        assert configure(RuntimeSpec(), CPU) == 3
        assert configure(RuntimeSpec(threads=2), CPU) == torch.get_num_threads() == 2
        assert configure(RuntimeSpec(threads=2), CPU, threads=1) == torch.get_num_threads() == 1


def test_a_cpu_takes_bfloat16_when_asked_to(fast_bf16: None) -> None:
    asked = {word: choose_precision(word, CPU)[:2] for word in ("auto", "fp32", "bf16", "bf16_teacher")}
    half = torch.bfloat16
    assert asked == {"auto": (None, None), "fp32": (None, None), "bf16": (half, half), "bf16_teacher": (None, half)}
    assert [choose_precision(word, CPU).word for word in asked] == ["fp32", "fp32", "bf16", "bf16_teacher"]


@pytest.mark.parametrize("word", ["bf16", "bf16_teacher"])
def test_bfloat16_is_refused_where_it_is_slower(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.raises(BadInput, match="no fast bfloat16"):
        choose_precision(word, CPU)


def test_a_teacher_in_bfloat16_computes_as_its_student_computes() -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = build_model("resnet8x4", 10, 32)
    plain = FrozenTeacher(network, **PLAIN, device=CPU)(images)
    reduced = FrozenTeacher(network, **PLAIN, device=CPU, reduced=torch.bfloat16)
    alone = reduced(images)
    assert {each.dtype for each in (alone.logits, alone.embedding, *alone.stages)} == {torch.float32}
    apart = (alone.logits - plain.logits).abs().max() / plain.logits.abs().max()
    assert 0 < apart < 0.02, "rounded, no more"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert reduced(images).logits.dtype == torch.bfloat16
