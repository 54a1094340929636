"""Resized crop, rotation and cutout: equal to torchvision at the same numbers, in range, and without a state."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support import random_loader, tiny_spec
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv

from kdengine.assembly import augmentation as augmentation_of
from kdengine.data.batches.augmentation import Augmentation
from kdengine.data.batches.draws import Draws, draw
from kdengine.data.batches.loader import BatchLoader
from kdengine.errors import BadInput

SIZE = 16
COUNT = 24
CPU = torch.device("cpu")
ALL = Augmentation(flip=True, resized_crop=0.2, rotation=30, cutout=6)


def loader_of(augmentation: Augmentation, **changes: Any) -> BatchLoader:
    return random_loader(COUNT, **({"augmentation": augmentation, "drop_last": False} | changes))


def views(loader: BatchLoader, epoch: int = 1, start_step: int = 0) -> dict[int, Tensor]:
    """Views by sample number, brought back to 0..255."""
    found = {}
    for batch in loader.epoch(epoch, start_step):
        for sample, image in zip(batch.index.tolist(), batch.image, strict=True):
            found[sample] = (image * 0.25 + 0.5) * 255
    return found


def drawn(augmentation: Augmentation, count: int = COUNT, epoch: int = 1) -> Draws:
    return draw(augmentation, count, SIZE, 0, epoch, 0, CPU)


def image_of(loader: BatchLoader, sample: int) -> Tensor:
    """The image as it is, float (1, 3, H, W) of 0..255."""
    return torch.from_numpy(loader.part.take([sample])).permute(0, 3, 1, 2).float()


def by_torchvision(image: Tensor, draws: Draws, sample: int) -> Tensor:
    """Window, rotation and mirroring one after the other, with the numbers that were drawn: (3, H, W)."""
    assert draws.warp is not None
    window = [int(numbers[sample]) for numbers in (draws.top, draws.left, draws.warp.height, draws.warp.width)]
    resized = tv.resized_crop(image, *window, [SIZE, SIZE], antialias=False)
    angle = math.degrees(float(draws.warp.angle[sample]))
    turned = tv.rotate(resized, angle, tv.InterpolationMode.BILINEAR) if angle else resized
    return (tv.hflip(turned) if draws.mirrored[sample] else turned)[0]


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(resized_crop=0.08),
        Augmentation(flip=True, resized_crop=0.5),
        Augmentation(rotation=45),
        Augmentation(flip=True, rotation=180),
    ],
)
def test_each_geometric_change_is_what_torchvision_makes_of_the_same_numbers(augmentation: Augmentation) -> None:
    loader = loader_of(augmentation)
    draws = drawn(augmentation)
    for sample, image in views(loader).items():
        expected = by_torchvision(image_of(loader, sample), draws, sample)
        torch.testing.assert_close(image, expected, rtol=0, atol=0.02)


def test_both_together_are_one_after_the_other_but_for_being_blurred_once() -> None:
    augmentation = Augmentation(flip=True, resized_crop=0.3, rotation=20)
    loader = loader_of(augmentation)
    rows = torch.linspace(0, 200, SIZE)
    loader.part.images[:] = (rows[:, None] * 0.5 + rows * 0.5)[..., None].byte().numpy()  # smooth: blurring is small
    draws = drawn(augmentation)
    inner = slice(4, -4)  # at the edge of the window two resamplings fade to black differently
    for sample, image in views(loader).items():
        expected = by_torchvision(image_of(loader, sample), draws, sample)
        assert (image - expected)[:, inner, inner].abs().max() < 2


def test_padded_crop_and_rotation_together() -> None:
    augmentation = Augmentation(crop_padding=3, flip=True, rotation=25)
    loader = loader_of(augmentation)
    draws = drawn(augmentation)
    assert draws.warp is not None
    for sample, image in views(loader).items():
        padded = tv.pad(image_of(loader, sample), [3])
        crop = tv.crop(padded, int(draws.top[sample]), int(draws.left[sample]), SIZE, SIZE)
        angle = math.degrees(float(draws.warp.angle[sample]))
        turned = tv.rotate(crop, angle, tv.InterpolationMode.BILINEAR)
        expected = (tv.hflip(turned) if draws.mirrored[sample] else turned)[0]
        torch.testing.assert_close(image, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("side", [1, 5, 6])
def test_cutout_blanks_a_square_clipped_at_the_border_to_the_mean(side: int) -> None:
    plain, holed = Augmentation(2, True), Augmentation(2, True, cutout=side)
    before, after = views(loader_of(plain)), views(loader_of(holed))
    hole = drawn(holed).hole
    assert hole is not None
    for sample, image in after.items():
        top, left = hole[:, sample].tolist()
        expected = before[sample].clone()
        expected[:, max(top, 0) : top + side, max(left, 0) : left + side] = 127.5  # the mean: 0 once normalised
        assert torch.equal(image, expected)


def test_centres_of_cutout_are_everywhere() -> None:
    hole = drawn(Augmentation(cutout=6), 5000).hole
    assert hole is not None
    for corner in hole:
        counts = torch.bincount(corner + 3, minlength=SIZE)
        assert len(counts) == SIZE and counts.min() > 0.7 * 5000 / SIZE and counts.max() < 1.3 * 5000 / SIZE


def test_windows_are_distributed_as_torchvisions() -> None:
    count, size = 20000, 32
    draws = draw(Augmentation(resized_crop=0.25), count, size, 0, 0, 0, CPU)
    assert draws.warp is not None
    ours = torch.stack([draws.top, draws.left, draws.warp.height, draws.warp.width]).float()
    torch.manual_seed(0)
    blank = torch.zeros(1, size, size)
    theirs = torch.tensor([RandomResizedCrop.get_params(blank, [0.25, 1.0], [3 / 4, 4 / 3]) for _ in range(count)])
    theirs = theirs.T.float()
    torch.testing.assert_close(ours.mean(dim=1), theirs.mean(dim=1), rtol=0, atol=0.25)
    torch.testing.assert_close(ours.std(dim=1), theirs.std(dim=1), rtol=0, atol=0.25)
    top, left, height, width = ours
    share, aspect = height * width / size**2, width / height
    # Sides are whole pixels: half a pixel of each is what rounding may add.
    assert share.min() >= 0.25 * (1 - 1 / 13) ** 2 and share.max() <= 1
    assert aspect.min() >= 3 / 4 * 0.93 and aspect.max() <= 4 / 3 * 1.07
    assert top.min() == left.min() == 0 and (top + height).max() == (left + width).max() == size


def test_what_fits_nowhere_becomes_the_whole_image() -> None:
    draws = drawn(Augmentation(resized_crop=1.0), 2000)
    assert draws.warp is not None
    whole = (draws.warp.height == SIZE) & (draws.warp.width == SIZE)
    assert whole.float().mean() > 0.3 and bool(((draws.top == 0) & (draws.left == 0))[whole].all())


def test_angles_are_spread_evenly_over_the_range() -> None:
    warp = drawn(Augmentation(rotation=30), 20000).warp
    assert warp is not None
    degrees = warp.angle.rad2deg()
    assert degrees.min() >= -30 and degrees.max() <= 30
    counts = torch.histc(degrees, 6, -30, 30)
    assert counts.min() > 0.9 * 20000 / 6 and counts.max() < 1.1 * 20000 / 6


def test_one_change_leaves_the_draws_of_the_others_as_they_are() -> None:
    crop = drawn(Augmentation(3, True))
    more = drawn(Augmentation(3, True, rotation=20, cutout=4))
    assert all(torch.equal(one, other) for one, other in zip(crop[:3], more[:3], strict=True))
    alone = drawn(Augmentation(rotation=20))
    assert alone.warp is not None and more.warp is not None and torch.equal(alone.warp.angle, more.warp.angle)
    both = drawn(ALL)
    window = drawn(Augmentation(resized_crop=0.2))
    assert both.warp is not None and window.warp is not None
    assert torch.equal(both.top, window.top) and torch.equal(both.warp.width, window.warp.width)
    assert torch.equal(both.mirrored, crop.mirrored)
    hole, other = drawn(Augmentation(cutout=6)).hole, both.hole
    assert hole is not None and other is not None and torch.equal(hole, other)


@pytest.mark.parametrize(
    "changes", [{"batch_size": 5}, {"shuffle": False}, {"resident_bytes": 0}, {"views": 2}, {"channels_last": False}]
)
def test_a_view_depends_on_seed_epoch_sample_and_view_only(changes: dict[str, Any]) -> None:
    reference, other = views(loader_of(ALL)), views(loader_of(ALL, **changes))
    assert other.keys() == reference.keys()
    assert all(torch.equal(other[sample], image) for sample, image in reference.items())


def test_an_epoch_goes_on_with_the_same_views() -> None:
    whole, rest = views(loader_of(ALL)), views(loader_of(ALL), start_step=2)
    assert len(rest) == COUNT - 16 and all(torch.equal(whole[sample], image) for sample, image in rest.items())


def test_epochs_and_views_differ() -> None:
    loader = loader_of(ALL, views=2)
    one, two = views(loader, 0), views(loader, 1)
    assert sum(not torch.equal(one[sample], two[sample]) for sample in one) == COUNT
    batch = next(loader.epoch(0))
    assert not torch.equal(batch.views[0], batch.views[1])


PINNED_WINDOWS = [[2, 1, 1, 6], [4, 4, 0, 2], [9, 14, 11, 7], [10, 11, 14, 9]]
PINNED_ANGLES = [0.1473, 0.3939, -0.3589, -0.361]
PINNED_HOLES = [[0, 9, 7, 3], [-1, 4, 3, -2]]


def test_draws_never_change() -> None:
    """A resumed run depends on these numbers: a change here breaks every resume and every cached teacher."""
    draws = drawn(ALL)
    assert draws.warp is not None and draws.hole is not None
    assert torch.stack([draws.top, draws.left, draws.warp.height, draws.warp.width])[:, :4].tolist() == PINNED_WINDOWS
    assert [round(float(angle), 4) for angle in draws.warp.angle[:4]] == PINNED_ANGLES
    assert draws.hole[:, :4].tolist() == PINNED_HOLES


def test_values_out_of_range_are_refused_in_words() -> None:
    with pytest.raises(BadInput) as caught:
        Augmentation(crop_padding=-1, resized_crop=1.5, rotation=-3, cutout=-2)
    fields = [problem.field for problem in caught.value.problems]
    assert fields == ["crop_padding", "resized_crop", "rotation", "cutout"]
    with pytest.raises(BadInput, match="resized_crop: takes the place of crop_padding"):
        Augmentation(crop_padding=2, resized_crop=0.5)
    with pytest.raises(BadInput, match="cutout: a square of 16 px would blank a whole image of 16 px"):
        loader_of(Augmentation(cutout=16))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"augmentation": "none"}, None),
        ({"augmentation": "none", "cutout": 4}, Augmentation(cutout=4)),
        ({"augmentation": "crop_flip"}, Augmentation(2, True)),
        ({"augmentation": "crop", "rotation": 10}, Augmentation(2, rotation=10)),
        ({"augmentation": "crop_flip", "resized_crop": 0.3}, Augmentation(flip=True, resized_crop=0.3)),
    ],
)
def test_a_resized_crop_takes_the_place_of_the_shift(settings: dict[str, Any], expected: Augmentation | None) -> None:
    assert augmentation_of(tiny_spec(data=settings).data) == expected
