"""A student that this CPU trains more slowly in bfloat16 is refused, whatever kind of network it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_spec
from torch import nn

from kdengine import assembly
from kdengine.errors import BadInput
from kdengine.models import build_model
from kdengine.tuning import precision
from kdengine.tuning.precision import BF16, FP32, check_bf16_student, precision_times, slower_in_bf16
from kdengine.workspace import Workspace


def rig(monkeypatch: pytest.MonkeyPatch, bf16: float) -> list[dict[str, Callable[[], Any]]]:
    asked: list[dict[str, Callable[[], Any]]] = []

    def least_seconds(calls: dict[str, Callable[[], Any]], _: object) -> dict[str, float]:
        asked.append(calls)
        return {FP32: 1.0, BF16: bf16}

    monkeypatch.setattr(precision, "least_seconds", least_seconds)
    return asked


@pytest.mark.parametrize("name", ["resnet8x4", "mobilenetv3_small", "resnet18_light"])
@pytest.mark.parametrize(("bf16", "refused"), [(0.5, False), (1.02, False), (1.6, True)])
def test_what_is_timed_decides_not_the_kind_of_network(
    name: str, bf16: float, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(monkeypatch, bf16)
    student = build_model(name, 10, 32)
    assert slower_in_bf16(student, 8, tmp_path) is refused
    if refused:
        with pytest.raises(BadInput, match=rf"{name} in bf16 1\.6 times as long.*bf16_teacher or fp32"):
            check_bf16_student(student, 8, tmp_path)
    else:
        check_bf16_student(student, 8, tmp_path)


def test_both_are_really_computed_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = build_model("resnet20", 10, 16)
    kinds = []
    with monkeypatch.context() as patch:
        asked = rig(patch, 1.0)
        precision_times(student, 4, tmp_path / "rigged")
        for call in asked[0].values():
            seen: set[torch.dtype] = set()
            note = lambda module, _, output, seen=seen: seen.add(output.dtype) if type(module) is nn.Conv2d else None  # noqa: E731
            hook = nn.modules.module.register_module_forward_hook(note)
            call()
            hook.remove()
            kinds.append(seen)
    assert kinds == [{torch.float32}, {torch.bfloat16}]
    times = precision_times(student, 4, tmp_path, budget_s=60)
    assert set(times) == {FP32, BF16} and min(times.values()) > 0
    monkeypatch.setattr(precision, "least_seconds", lambda *_: pytest.fail("measured twice"))
    assert precision_times(student, 4, tmp_path) == times


def test_it_is_refused_before_a_run_is_made(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    rig(monkeypatch, 1.6)
    with pytest.raises(BadInput, match=r"1\.6 times as long"):
        assembly.preflight(tiny_spec(runtime={"precision": "bf16"}), workspace)
    assembly.preflight(tiny_spec(), workspace)
