"""Attention, Grad-CAM and importance pooling, on nets whose weights are set by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from looking import HandNet, subject_of, with_spot
from support import TinyNet, bench
from torch.nn import functional as F

from kdengine.inspection.attention import class_activation, grad_cam, stage_attention
from kdengine.inspection.importance import of_pool, pooling_importance, taken_by_max
from kdengine.inspection.of_method import own_maps
from kdengine.losses.regions import energy
from kdengine.models import build_model
from kdengine.models.blocks import CoordinateImportancePool


def test_attention_peaks_where_the_spot_is_and_moves_with_it() -> None:
    for row, column in ((3, 3), (3, 12), (11, 5)):
        arrays = stage_attention(subject_of(HandNet(), with_spot(row, column)))
        values = arrays["student_1"][0]
        assert values.shape == (16, 16)
        assert np.unravel_index(values.argmax(), values.shape) == (row, column)


def test_attention_is_the_mean_square_over_channels() -> None:
    subject = subject_of(TinyNet())
    with torch.no_grad():
        stages = TinyNet.forward(subject.student.eval(), subject.tensor(subject.images.pixels)).stages
    arrays = stage_attention(subject)
    assert list(arrays) == ["student_1", "student_2", "student_3"]
    for number, stage in enumerate(stages, 1):
        assert arrays[f"student_{number}"] == pytest.approx(stage.square().mean(1).numpy(), rel=1e-4, abs=1e-6)
        assert torch.equal(energy(stage), stage.square().mean(1))


def test_grad_cam_is_the_class_activation_map_behind_pooling_and_one_linear_layer() -> None:
    torch.manual_seed(1)
    net = TinyNet().eval()
    images = torch.randn(4, 3, 16, 16)
    for wanted in (torch.tensor([0, 1, 2, 3]), torch.tensor([4, 4, 0, 1])):
        found = grad_cam(net, lambda outputs: outputs.logits, -1, images, wanted)
        stage = net(images).stages[-1].detach()
        places = stage.shape[2] * stage.shape[3]
        by_hand = torch.einsum("nc,nchw->nhw", net.classifier.weight.detach()[wanted], stage).relu() / places
        assert found is not None and torch.allclose(found, by_hand, atol=1e-6)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_grad_cam_asks_every_head_about_its_own_answer() -> None:
    trial = bench("light_self")
    arrays = class_activation(subject_of(trial.student, method=trial.method))
    assert [*arrays] == [exit_.name for exit_ in trial.method.exits()] + ["student"]
    assert all(values.min() >= 0 and values.ndim == 3 for values in arrays.values())
    taught = bench("kd")
    assert set(class_activation(subject_of(taught.student, method=taught.method, teacher=taught.teacher))) == {
        "student",
        "teacher",
    }


def test_a_spot_is_important_and_its_importance_moves_with_it() -> None:
    pool = CoordinateImportancePool(2)
    with torch.no_grad():
        pool.local[0].weight.zero_()  # type: ignore[index, union-attr]
        pool.local[0].weight[:, :, 1, 1] = 1.0  # type: ignore[index, union-attr]
        pool.local[1].weight.fill_(4.0)  # type: ignore[index, union-attr]
    for row, column in ((2, 5), (9, 13)):
        x = torch.full((1, 2, 16, 16), 0.1)
        x[:, :, row, column] = 5.0
        told = of_pool(pool, x)
        peak = told["importance"][0]
        assert np.unravel_index(int(peak.argmax()), peak.shape) == (row, column)
        assert peak.max() == pytest.approx(1) and peak.min() < 1e-2


def test_equal_importance_is_average_pooling() -> None:
    pool, x = CoordinateImportancePool(3, mode="coord"), torch.rand(2, 3, 9, 9)
    told = of_pool(pool, x)
    assert torch.allclose(told["importance"], torch.ones(2, 9, 9))
    assert torch.allclose(pool(x), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), atol=1e-6)
    assert told["rows"].shape == (2, 9) and told["columns"].shape == (2, 9)


def test_max_pooling_takes_the_largest_of_each_window() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 1], x[0, 0, 3, 3] = 2.0, 1.0
    taken = taken_by_max(x, CoordinateImportancePool(1))[0]
    # Windows of 3 at stride 2, margin 1: each of the four holds (1, 1); the last holds (3, 3) too, but smaller.
    assert taken[1, 1] == 1 and taken[3, 3] == 0 and taken.sum() == 1


def test_importance_is_shown_of_the_net_that_has_it() -> None:
    plain, pooled = (build_model(name, 5, 16).eval() for name in ("resnet8x4", "resnet8x4_cip"))
    assert pooling_importance(subject_of(plain)) == {}
    arrays = pooling_importance(subject_of(pooled, count=3))
    assert arrays["student_importance_1"].shape == (3, 16, 16) and arrays["student_importance_2"].shape == (3, 8, 8)
    assert arrays["student_stride_1"].sum() == 3 * 64
    assert all(values.min() >= 0 and values.max() <= 1 for values in arrays.values())
    trial = bench("kd", teacher=pooled, student=plain)
    subject = subject_of(plain, method=trial.method, teacher=trial.teacher)
    assert {name.split("_")[0] for name in pooling_importance(subject)} == {"teacher"}


def test_the_fused_map_is_mean_mask_times_mean_map() -> None:
    """With gates that are all alike the fused map must be the plain mean of the branches' maps times the mean mask."""
    trial = bench("fusion_self")
    arrays = own_maps(subject_of(trial.student, method=trial.method))
    masks = [values for name, values in arrays.items() if name.startswith("mask_")]
    assert len(masks) > 1
    assert arrays["mean_mask"] == pytest.approx(np.mean(masks, axis=0), abs=1e-6)
    assert all(values.shape == arrays["fused"].shape for values in masks)


def test_foreground_and_background_partition_the_map() -> None:
    trial = bench("ama_self", mask="hard")
    arrays = own_maps(subject_of(trial.student, method=trial.method))
    numbers = sorted({name.rpartition("_")[2] for name in arrays})
    for number in numbers:
        mask = arrays[f"hard_mask_{number}"]
        assert set(np.unique(mask)) <= {0.0, 1.0}
        both = (arrays[f"foreground_{number}"] > 0) & (arrays[f"background_{number}"] > 0)
        assert not both.any(), "no place is foreground and background"
        assert (arrays[f"foreground_{number}"][mask == 0] == 0).all()
        assert arrays[f"ratio_{number}"].shape == (len(mask),)
