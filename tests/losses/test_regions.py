"""Masks of fore- and background, and attention inside them: by hand, partition, empty regions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kdengine.losses.regions import (
    energy,
    energy_share,
    hard_mask,
    otsu_threshold,
    region_attention,
    region_distance,
    soft_mask,
    top_threshold,
)


def attention(seed: int = 0, side: int = 4) -> Tensor:
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed)) ** 3


def test_energy_by_hand() -> None:
    feature = torch.tensor([[[[3.0, 0]], [[-1, 2]]]])
    assert energy(feature).tolist() == [[[5.0, 2.0]]]


def test_masks_by_hand() -> None:
    # Mean 2, deviations -2, -1, 0, 3, standard deviation sqrt(14 / 4).
    x = torch.tensor([[[0.0, 1], [2, 5]]])
    assert hard_mask(x).tolist() == [[[0, 0], [0, 1]]]
    steps = [4 * value / math.sqrt(3.5) for value in (-2, -1, 0, 3)]
    wanted = [1 / (1 + math.exp(-step)) for step in steps]
    assert soft_mask(x, 4.0).flatten().tolist() == pytest.approx(wanted, abs=1e-4)


def test_thresholds_by_hand() -> None:
    # Two groups, 0 1 2 and 9 10: Otsu parts them; two of five places are the strongest 40 %.
    x = torch.tensor([[[0.0, 9, 1, 10, 2]]])
    assert otsu_threshold(x).item() == 5.5
    assert top_threshold(x, 0.4).item() == 5.5
    assert top_threshold(x, 0.2).item() == 9.5
    assert hard_mask(x, top_threshold(x, 0.8)).tolist() == [[[0, 1, 1, 1, 1]]]
    assert soft_mask(x, 4.0, otsu_threshold(x)).gt(0.5).tolist() == [[[False, True, False, True, False]]]


@pytest.mark.parametrize("threshold", [otsu_threshold, lambda x: top_threshold(x, 0.4)])
def test_thresholds_of_constant_and_of_single_places(threshold: Callable[[Tensor], Tensor]) -> None:
    for x in (torch.full((2, 3, 3), 0.7), torch.rand(2, 1, 1)):
        assert threshold(x).shape == (2, 1, 1)
        assert not hard_mask(x, threshold(x)).any()
        assert torch.allclose(soft_mask(x, 4.0, threshold(x)), torch.full_like(x, 0.5), atol=1e-3)


def test_otsu_finds_the_split_of_greatest_variance_between_groups() -> None:
    x = attention()
    for image, threshold in zip(x, otsu_threshold(x).flatten(), strict=True):

        def between(t: Tensor, image: Tensor = image) -> float:
            high, low = image[image > t], image[image <= t]
            return len(high) * len(low) * float(high.mean() - low.mean()) ** 2 if len(high) and len(low) else 0.0

        assert between(threshold) == pytest.approx(max(between(t) for t in image.flatten()), rel=1e-5)


def test_a_sharp_soft_mask_is_the_hard_one_and_scale_does_not_count() -> None:
    x = attention()
    assert torch.allclose(soft_mask(x, 1e5), hard_mask(x), atol=1e-3)
    assert torch.allclose(soft_mask(1e-6 * x, 4.0), soft_mask(x, 4.0), atol=1e-4)
    assert torch.equal(hard_mask(1e6 * x), hard_mask(x))


def test_the_regions_partition_the_image() -> None:
    x = attention()
    hard, soft = hard_mask(x), soft_mask(x, 4.0)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert soft.min() > 0 and soft.max() < 1
    for mask in (hard, soft):
        assert torch.equal(mask + (1 - mask), torch.ones_like(x))
        assert torch.allclose(energy_share(x, mask) + energy_share(x, 1 - mask), torch.ones(3))
    # What is above the mean holds a larger share of the energy than of the area.
    assert (energy_share(x, hard) > hard.mean((1, 2))).all()


def test_region_distance_by_hand() -> None:
    student, teacher = torch.tensor([[[3.0, 4], [9, 0]]]), torch.tensor([[[4.0, 3], [0, 1]]])
    top = torch.tensor([[[1.0, 1], [0, 0]]])
    # Unit vectors (.6, .8) and (.8, .6) above, (1, 0) and (0, 1) below.
    assert region_attention(student, top).tolist() == [[pytest.approx([0.6, 0.8]), [0, 0]]]
    assert region_distance(student, teacher, top).tolist() == pytest.approx([0.08], rel=1e-5)
    assert region_distance(student, teacher, 1 - top).tolist() == pytest.approx([2.0], rel=1e-5)
    assert energy_share(student, top).tolist() == pytest.approx([7 / 16])


def test_distance_is_zero_for_equal_maps_of_any_scale_and_grows_not_with_the_side() -> None:
    x, y = attention(0), attention(1)
    mask = hard_mask(y)
    assert region_distance(7 * x, x, mask).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    fine = [z.repeat_interleave(4, 1).repeat_interleave(4, 2) for z in (x, y, mask)]
    assert region_distance(*fine).tolist() == pytest.approx(region_distance(x, y, mask).tolist(), rel=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e8])
@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("side", [1, 4])
def test_empty_regions_and_dead_maps_are_finite(scale: float, kind: str, side: int) -> None:
    # A constant teacher leaves the hard foreground empty; scale 0 is a dead student.
    student = (attention(side=side) * scale).requires_grad_()
    teacher = torch.full((3, side, side), 0.25)
    mask = hard_mask(teacher) if kind == "hard" else soft_mask(teacher, 4.0)
    assert mask.unique().tolist() == ([0.0] if kind == "hard" else pytest.approx([0.5], abs=1e-3))
    value = region_distance(student, teacher, mask) + region_distance(student, teacher, 1 - mask)
    value.sum().backward()
    assert torch.isfinite(value).all() and student.grad is not None and torch.isfinite(student.grad).all()
    assert torch.isfinite(energy_share(student, mask)).all()
    if kind == "hard":
        assert region_distance(student, teacher, mask).tolist() == [0, 0, 0], "an empty region costs nothing"
