"""Batches: exact against PIL, stateless, resumable; the four samplers."""

from __future__ import annotations

import itertools
import shutil
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from kdengine.data import Part
from kdengine.data.batches.loader import Augmentation, Batch, BatchLoader
from kdengine.errors import BadInput

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
SIZE = 12


def make_part(count: int = 50, classes: int = 5) -> Part:
    """A part of every second row of a store."""
    images = np.random.default_rng(0).integers(1, 256, (2 * count, SIZE, SIZE, 3), dtype=np.uint8)
    index = np.arange(0, 2 * count, 2)
    return Part(images, index, np.arange(count, dtype=np.int64) % classes)


def make_loader(part: Part | None = None, **changes: object) -> BatchLoader:
    arguments = {
        "batch_size": 8,
        "mean": MEAN,
        "std": STD,
        "device": "cpu",
        "seed": 7,
        "augmentation": Augmentation(crop_padding=3, flip=True),
        "shuffle": True,
        "drop_last": True,
    }
    return BatchLoader(part if part is not None else make_part(), **(arguments | changes))  # type: ignore[arg-type]


def pixels(image: torch.Tensor) -> np.ndarray:
    """Undoes the normalisation: float (B, 3, H, W) -> uint8 (B, H, W, 3), exactly."""
    back = image.permute(0, 2, 3, 1).double() * torch.tensor(STD) + torch.tensor(MEAN)
    rounded = (back * 255).round()
    assert (back * 255 - rounded).abs().max() < 1e-3
    return rounded.numpy().astype(np.uint8)


def views_by_id(batches: list[Batch], view: int = 0) -> dict[int, torch.Tensor]:
    return {int(i): image for batch in batches for i, image in zip(batch.index, batch.views[view], strict=True)}


def pil_crops(image: np.ndarray, padding: int) -> dict[bytes, tuple[int, int, bool]]:
    """Every crop of the padded image, mirrored or not, by PIL."""
    padded = ImageOps.expand(Image.fromarray(image), padding, fill=0)
    found = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded.crop((left, top, left + SIZE, top + SIZE))
            found[np.asarray(crop).tobytes()] = (top, left, False)
            found[np.asarray(ImageOps.mirror(crop)).tobytes()] = (top, left, True)
    return found


def test_evaluation_is_the_plain_image_normalised_in_order() -> None:
    part = make_part()
    loader = make_loader(part, augmentation=None, shuffle=False, drop_last=False)
    batches = list(loader.epoch(0))
    assert [len(batch.target) for batch in batches] == [8] * 6 + [2] and loader.steps_per_epoch == 7
    image = torch.cat([batch.image for batch in batches])
    expected = (part.take(np.arange(50)) / 255 - np.array(MEAN)) / np.array(STD)
    torch.testing.assert_close(image, torch.from_numpy(expected).float().permute(0, 3, 1, 2), rtol=0, atol=2e-6)
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(50))
    assert torch.cat([batch.target for batch in batches]).tolist() == part.labels.tolist()
    assert image.dtype == torch.float32


def test_every_view_is_a_crop_that_pil_makes_too() -> None:
    part = make_part()
    shifts = []
    for epoch in range(4):
        for batch in make_loader(part, drop_last=False).epoch(epoch):
            for sample, image in zip(batch.index.tolist(), pixels(batch.image), strict=True):
                crops = pil_crops(part.take([sample])[0], 3)
                assert image.tobytes() in crops
                shifts.append(crops[image.tobytes()])
    assert {top for top, _, _ in shifts} == {left for _, left, _ in shifts} == set(range(7))
    assert 0.35 < np.mean([mirrored for _, _, mirrored in shifts]) < 0.65


@pytest.mark.parametrize(("padding", "flip"), [(3, False), (0, True), (0, False)])
def test_changes_that_are_switched_off_do_not_happen(padding: int, flip: bool) -> None:
    part = make_part()
    loader = make_loader(part, augmentation=Augmentation(padding, flip), drop_last=False)
    for batch in loader.epoch(0):
        for sample, image in zip(batch.index.tolist(), pixels(batch.image), strict=True):
            top, left, mirrored = pil_crops(part.take([sample])[0], 3)[image.tobytes()]
            assert flip or not mirrored
            assert padding or (top, left) == (3, 3)


def test_a_view_depends_on_seed_epoch_sample_and_view_only() -> None:
    reference = views_by_id(list(make_loader(drop_last=False).epoch(3)))
    for changes in (
        {"batch_size": 5},
        {"shuffle": False},
        {"resident_bytes": 0},
        {"views": 2},
        {"channels_last": False},
    ):
        other = views_by_id(list(make_loader(drop_last=False, **changes).epoch(3)))
        assert other.keys() == reference.keys()
        assert all(torch.equal(other[i], reference[i]) for i in reference), changes
    assert any(not torch.equal(reference[i], image) for i, image in views_by_id(list(make_loader().epoch(4))).items())
    changed_seed = views_by_id(list(make_loader(seed=8).epoch(3)))
    assert any(not torch.equal(reference[i], image) for i, image in changed_seed.items())


def test_two_views_differ_from_each_other() -> None:
    batches = list(make_loader(views=2, drop_last=False).epoch(0))
    one, two = views_by_id(batches, 0), views_by_id(batches, 1)
    assert sum(not torch.equal(one[i], two[i]) for i in one) > 40
    assert batches[0].image is batches[0].views[0]


@pytest.mark.parametrize("sampler", ["uniform", "class-balanced", "same-class-pairs", "overlapping"])
def test_start_step_goes_on_exactly(sampler: str) -> None:
    whole = list(make_loader(sampler=sampler).epoch(2))
    rest = list(make_loader(sampler=sampler).epoch(2, start_step=4))
    assert len(whole) == make_loader(sampler=sampler).steps_per_epoch and len(rest) == len(whole) - 4
    for one, two in zip(whole[4:], rest, strict=True):
        assert torch.equal(one.index, two.index) and torch.equal(one.image, two.image)
        assert torch.equal(one.target, two.target)


def test_order_is_a_permutation_anew_each_epoch() -> None:
    loader = make_loader(drop_last=False)
    orders = [torch.cat([batch.index for batch in loader.epoch(epoch)]).tolist() for epoch in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50)) and orders[0] != orders[1]


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("augmentation", [None, Augmentation(2, True)])
def test_memory_format(channels_last: bool, augmentation: Augmentation | None) -> None:
    batch = next(make_loader(channels_last=channels_last, augmentation=augmentation).epoch(0))
    wanted = torch.channels_last if channels_last else torch.contiguous_format
    assert batch.image.is_contiguous(memory_format=wanted) and batch.image.shape == (8, 3, SIZE, SIZE)


@pytest.mark.parametrize(("batch_size", "classes"), [(10, 5), (12, 5), (8, 20), (9, 20), (7, 3)])
def test_class_balanced(batch_size: int, classes: int) -> None:
    part = make_part(100, classes)
    seen = np.zeros(100, int)
    for epoch in range(12):
        for batch in make_loader(part, sampler="class-balanced", batch_size=batch_size).epoch(epoch):
            counts = np.bincount(batch.target, minlength=classes)
            counts = counts[counts > 0]
            assert counts.min() >= 2 and counts.max() - counts.min() <= 1 and counts.sum() == batch_size
            assert len(counts) == min(classes, batch_size // 2)
            assert len(set(batch.index.tolist())) == batch_size
            seen += np.bincount(batch.index, minlength=100)
    assert seen.min() > 0


def test_class_balanced_repeats_rare_classes() -> None:
    images = np.zeros((43, SIZE, SIZE, 3), np.uint8)
    part = Part(images, np.arange(43), np.array([0] * 40 + [1] * 3))
    for batch in make_loader(part, sampler="class-balanced").epoch(0):
        assert np.bincount(batch.target).tolist() == [4, 4]


def test_same_class_pairs() -> None:
    part = make_part(51, 5)
    loader = make_loader(part, sampler="same-class-pairs")
    batches = list(loader.epoch(0))
    assert len(batches) == 6
    for batch in batches:
        first, second = batch.index[:4], batch.index[4:]
        assert torch.equal(batch.target[:4], batch.target[4:]) and not bool((first == second).any())
    index = torch.cat([batch.index for batch in batches])
    assert len(index.unique()) >= len(index) - 1  # a class of odd size lends one sample a second time


def test_overlapping() -> None:
    batches = list(make_loader(sampler="overlapping").epoch(0))
    assert len(batches) == 50 // 4 - 1
    for before, after in itertools.pairwise(batches):
        assert torch.equal(before.index[4:], after.index[:4])
        assert torch.equal(before.image[4:], after.image[:4])
    assert len(torch.cat([batch.index for batch in batches]).unique()) == 48


def test_bad_input_is_said_in_words() -> None:
    with pytest.raises(BadInput, match="51 is larger than the 50 images"):
        make_loader(batch_size=51)
    assert make_loader(batch_size=51, drop_last=False).steps_per_epoch == 1
    with pytest.raises(BadInput, match=r"no sampler 'random'; there are: uniform, class-balanced"):
        make_loader(sampler="random")
    with pytest.raises(BadInput, match="needs shuffle and drop_last"):
        make_loader(sampler="class-balanced", shuffle=False)
    for sampler in ("same-class-pairs", "overlapping"):
        with pytest.raises(BadInput, match="batch_size: 7 is odd"):
            make_loader(sampler=sampler, batch_size=7)
    with pytest.raises(BadInput, match="class 49 has a single training image"):
        make_loader(make_part(99, 50), sampler="same-class-pairs")
    with pytest.raises(BadInput) as caught:
        make_loader(batch_size=0, views=0)
    assert len(caught.value.problems) == 2
    with pytest.raises(BadInput, match="-1 is negative"):
        Augmentation(crop_padding=-1)


CAN_COMPILE = shutil.which("g++") is not None and Path(sysconfig.get_path("include"), "Python.h").is_file()


@pytest.mark.skipif(not CAN_COMPILE, reason="needs a C++ compiler and Python's headers")
def test_the_compiled_gather_gives_the_same_views() -> None:
    augmentation = Augmentation(crop_padding=3, flip=True, cutout=4)
    eager = make_loader(augmentation=augmentation).epoch(0)
    compiled = make_loader(augmentation=augmentation, compile=True).epoch(0)
    for one, two in zip(eager, compiled, strict=True):
        assert torch.equal(one.index, two.index) and one.image.stride() == two.image.stride()
        torch.testing.assert_close(one.image, two.image, rtol=0, atol=1e-6)


PINNED_ORDER = [18, 20, 45, 35, 11, 0, 27, 22]
PINNED_SUM = -895.62


def test_draws_never_change() -> None:
    """A resumed run depends on these numbers: a change here breaks every resume and every cached teacher."""
    batch = next(make_loader().epoch(0))
    assert batch.index.tolist() == PINNED_ORDER
    assert round(float(batch.image.double().sum()), 2) == PINNED_SUM


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("resident_bytes", [0, 1 << 30])
def test_cuda_gives_the_same_views(resident_bytes: int) -> None:
    on_cpu = list(make_loader(views=2).epoch(1))
    on_gpu = list(make_loader(views=2, device="cuda", resident_bytes=resident_bytes).epoch(1))
    for one, two in zip(on_cpu, on_gpu, strict=True):
        assert two.image.is_cuda and torch.equal(one.index, two.index.cpu())
        for a, b in zip(one.views, two.views, strict=True):
            torch.testing.assert_close(a, b.cpu(), rtol=0, atol=1e-6)
