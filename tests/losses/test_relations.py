"""Groups of a batch: who is in them, and that they change neither small batches nor what is equal everywhere."""

from __future__ import annotations

import pytest
import torch

from kdengine.losses import rkd_angle, similarity_preserving
from kdengine.losses.relations import groups, in_groups


@pytest.mark.parametrize(
    ("count", "most", "sizes"), [(64, 64, [64]), (65, 64, [33, 32]), (9, 4, [3, 3, 3]), (1, 8, [1])]
)
def test_groups_are_of_nearly_equal_size_and_share_nobody(count: int, most: int, sizes: list[int]) -> None:
    found = [torch.arange(count)[group] for group in groups(count, most)]
    assert [len(group) for group in found] == sizes
    assert torch.equal(torch.cat(found).sort().values, torch.arange(count))


def test_a_batch_sorted_by_class_has_all_classes_in_every_group() -> None:
    target = torch.arange(4).repeat_interleave(16)
    assert all(set(target[group].tolist()) == {0, 1, 2, 3} for group in groups(64, 16))


def test_a_batch_that_fits_is_not_split() -> None:
    own, guide = torch.randn(12, 5), torch.randn(12, 7)
    assert torch.equal(in_groups(rkd_angle, 12, own, guide), rkd_angle(own, guide))


def test_the_value_is_the_mean_over_groups_weighted_by_size() -> None:
    own, guide = torch.randn(9, 5), torch.randn(9, 7)
    parts = [rkd_angle(own[start::2], guide[start::2]) for start in (0, 1)]
    torch.testing.assert_close(in_groups(rkd_angle, 5, own, guide), (5 * parts[0] + 4 * parts[1]) / 9)


def test_a_repeated_batch_keeps_the_size_of_a_loss_that_falls_with_it() -> None:
    own, guide = torch.randn(16, 5), torch.randn(16, 7)
    once = similarity_preserving(own, guide)
    fourfold = [vectors.repeat_interleave(4, dim=0) for vectors in (own, guide)]
    assert float(similarity_preserving(*fourfold)) == pytest.approx(float(once) / 4, rel=1e-4)
    assert float(in_groups(similarity_preserving, 16, *fourfold)) == pytest.approx(float(once), rel=1e-4)
