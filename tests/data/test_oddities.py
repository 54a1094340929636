"""What an upload's check finds besides what does not open: counts, sizes, imbalance, and images that occur twice."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from archives import as_zip, image_files, png, random_image
from PIL import Image

from kdengine.data.sources.examine import check_archive
from kdengine.data.sources.oddities import Oddities, Tally

RNG = np.random.default_rng(7)


def named(count: int, train: int = 10, side: int = 40) -> Oddities:
    return Oddities((count, train), (1, 1), (side, side, side), 0, 0, (), 0, ())


def test_an_archive_with_a_leak_a_repeat_and_a_dispute(tmp_path: Path) -> None:
    files = image_files({"cat": 9, "dog": 4}, "train/", size=40) | image_files({"cat": 2, "dog": 3}, "test/", size=90)
    files["test/dog/same.png"] = files["train/dog/001.png"]
    files["train/cat/again.png"] = files["train/cat/again2.png"] = files["train/cat/003.png"]
    files["train/dog/disputed.png"] = files["train/cat/disputed.png"] = png(random_image(RNG, 12))
    found = check_archive(as_zip(tmp_path / "a.zip", files))
    odd = found.oddities
    assert (odd.train, odd.test) == ((12, 5), (2, 4)) and found.train == 17
    assert odd.sides == (12, 40, 90)
    assert (odd.leaked, odd.leaks) == (1, ("test/dog/same.png = train/dog/001.png",))
    assert odd.repeated == 3, "two copies of one, and the disputed one"
    assert odd.conflicts == 1 and set(odd.disputed[0].split(" = ")) == {
        "train/cat/disputed.png", "train/dog/disputed.png",
    }  # fmt: skip
    said = odd.warnings(found.classes)
    assert [line.split()[0] for line in said] == ["1", "1", "3"] and "test accuracy is too high" in said[0]


def test_images_with_transparent_parts_are_counted_opaque_ones_with_a_channel_are_not(tmp_path: Path) -> None:
    files = image_files({"cat": 5, "dog": 5})
    for name, alpha in (("cat/logo", 0), ("dog/half", 128), ("dog/opaque", 255)):
        buffer = io.BytesIO()
        Image.new("RGBA", (16, 16), (9, 9, 9, alpha)).save(buffer, "PNG")
        files[f"{name}.png"] = buffer.getvalue()
    found = check_archive(as_zip(tmp_path / "a.zip", files))
    assert found.oddities.transparent == 2
    assert [line for line in found.oddities.warnings(found.classes) if "2 image(s) with transparent parts" in line]


def test_data_without_oddities_have_no_warning(tmp_path: Path) -> None:
    found = check_archive(as_zip(tmp_path / "a.zip", image_files({"cat": 20, "dog": 20})))
    assert found.oddities.warnings(found.classes) == [] and sum(found.oddities.test) == found.test > 0


def test_the_larger_class_is_named(tmp_path: Path) -> None:
    assert named(49).warnings(("a", "b")) == []
    assert (named(49).metric, named(50).metric) == ("accuracy", "accuracy of each class")
    assert "a has 5 times as many training images as b" in named(50).warnings(("a", "b"))[0]
    assert "b has 10 times as many training images as a" in named(1).warnings(("a", "b"))[0]


def test_the_suggested_size_enlarges_no_more_than_half() -> None:
    assert [named(1, side=side).image_size for side in (8, 16, 31, 32, 100, 223, 224, 4000)] == [
        16, 16, 24, 32, 96, 160, 224, 224,
    ]  # fmt: skip


def test_lists_of_examples_are_short_and_counts_are_not() -> None:
    tally = Tally(2)
    for number in range(30):
        for part in ("train", "test"):
            tally.add(f"{part}/{number}", part, 0, bytes([number]), (5, 9))
    found = tally.result()
    assert found.leaked == 30 and len(found.leaks) == 10 and found.repeated == found.conflicts == 0
