"""Which part an image of one's own belongs to: drawn by the image, whatever images come later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from archives import as_folder, as_zip, image_files

from kdengine.data import DatasetBundle, load_dataset, splits
from kdengine.data.bundle import Part

OWN = image_files({"cat": 120, "dog": 12})
LATER = OWN | {f"{name[:3]}/a{name[4:]}": content for name, content in image_files({"cat": 90}, seed=1).items()}


def load(path: Path, root: Path, split: str = "image", **arguments: object) -> DatasetBundle:
    options = {"path": str(path), "split": split}
    return load_dataset("folder", root / "datasets", 8, options=options, **arguments)  # type: ignore[arg-type]


def shown(part: Part) -> set[bytes]:
    return {image.tobytes() for image in part.take(np.arange(len(part)))}


@pytest.mark.parametrize("arguments", [{}, {"validation": 0.3, "split_seed": 7, "meta": 0.2}])
def test_images_that_come_later_move_hardly_any(tmp_path: Path, arguments: dict[str, float]) -> None:
    before = load(as_folder(tmp_path / "before", OWN), tmp_path, **arguments)
    after = load(as_folder(tmp_path / "after", LATER), tmp_path, **arguments)
    # Of a tenth of a part at most, where so many came; drawn by position it is more than half.
    assert len(shown(before.test) - shown(after.test)) <= 2
    assert len(shown(before.train) & shown(after.test)) <= 2
    assert len(shown(before.validation) - shown(after.validation)) <= 3


def test_parts_are_those_of_the_images_wherever_they_lie(tmp_path: Path) -> None:
    folder = load(as_folder(tmp_path / "mine", OWN), tmp_path)
    packed = load(as_zip(tmp_path / "p.zip", {f"around/{name}": each for name, each in OWN.items()}), tmp_path)
    assert folder.digest == packed.digest and shown(folder.test) == shown(packed.test)
    assert not shown(folder.train) & (shown(folder.test) | shown(folder.validation))


def test_the_rule_of_before_gives_the_parts_of_before(tmp_path: Path) -> None:
    bundle = load(as_folder(tmp_path / "mine", image_files({"cat": 10, "dog": 20})), tmp_path, split="position")
    assert bundle.digest == "2650531cb3ce84de88ad357f00d7d2702d42f8e2f443496bc7edcf125a3e518b"


def test_another_rule_is_another_digest_even_where_the_test_part_is_given(tmp_path: Path) -> None:
    files = image_files({"cat": 30, "dog": 30}, "train/") | image_files({"cat": 3, "dog": 2}, "test/")
    path = as_folder(tmp_path / "mine", files)
    one, two = load(path, tmp_path), load(path, tmp_path, split="position")
    assert shown(one.test) == shown(two.test) and one.digest != two.digest


@pytest.mark.parametrize("count", [2, 3, 5, 10, 45])
def test_small_classes_give_the_nearest_whole_number(count: int) -> None:
    keys = np.array([splits.key_of(str(number)) for number in range(count)], np.uint64)
    for seed in range(20):
        rest, carved = splits.carve(np.zeros(count, np.int64), 1, 0.2, seed, keys)
        assert len(carved) == splits.carved_count(count, 0.2) and len(rest) + len(carved) == count


def test_large_classes_give_their_share_within_a_tenth() -> None:
    keys = np.array([splits.key_of(str(number)) for number in range(2000)], np.uint64)
    assert all(360 <= len(splits.carve(np.zeros(2000, np.int64), 1, 0.2, seed, keys)[1]) <= 440 for seed in range(20))
