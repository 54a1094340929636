"""Which folders are classes and which are parts of a split: told by their names, by the shape of the tree, or asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from archives import as_folder, as_zip, image_files

from kdengine import ExperimentSpec
from kdengine.data import load_dataset
from kdengine.data.sources.guard import Listing
from kdengine.data.sources.layout import Layout, find_layout
from kdengine.data.sources.roles import role
from kdengine.errors import DataError

FINGERPRINT_BEFORE = "3d4dfc38705cb5ff"


def listing(*patterns: str, count: int = 4) -> Listing:
    """Four images in each of these folders; ``a,b/c`` stands for ``a/c`` and ``b/c``."""
    folders = [""]
    names: list[str] = []
    for pattern in patterns:
        folders = [""]
        for part in pattern.split("/"):
            folders = [f"{folder}{name}/" for folder in folders for name in part.split(",")]
        names += [f"{folder}{number}.png" for folder in folders for number in range(count)]
    return Listing(files=names)


def read(*patterns: str, layout: str = "auto") -> Layout:
    return find_layout(listing(*patterns), "mine.zip", layout)  # type: ignore[arg-type]


def refusal(*patterns: str, layout: str = "auto") -> str:
    with pytest.raises(DataError) as caught:
        read(*patterns, layout=layout)
    return str(caught.value)


def train_paths(found: Layout) -> set[str]:
    return {path.rsplit("/", 1)[0] for path in found.paths[: found.train_count]}


@pytest.mark.parametrize(
    "names",
    [
        "train test", "Train Test", "TRAINING TESTING", "Training Testing", "train val", "train validation",
        "training_set test_set", "trainset testset", "TrainImages TestImages", "train-data eval", "trn tst",
        "train2017 val2017", "images_train images_test", "my train/my test", "训练集 测试集",
    ],
)  # fmt: skip
@pytest.mark.parametrize("around", ["", "photos/"])
def test_split_names_in_every_usual_spelling(names: str, around: str) -> None:
    train, test = names.split("/") if "/" in names else names.split(" ")
    found = read(f"{around}{train}/cat,dog", f"{around}{test}/cat,dog")
    assert found.classes == ("cat", "dog")
    assert train_paths(found) == {f"{around}{train}/cat", f"{around}{train}/dog"}
    assert found.train_count == 8 and found.labels.tolist() == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4


def test_split_folders_inside_a_folder_of_their_own_name() -> None:
    found = read("seg_train/seg_train/sea,forest", "seg_test/seg_test/sea,forest", "seg_pred/seg_pred")
    assert found.classes == ("forest", "sea") and found.train_count == 8
    assert found.left_out == ("Images left out, for they have no label: seg_pred/seg_pred/ (4)",)
    assert train_paths(found) == {"seg_train/seg_train/forest", "seg_train/seg_train/sea"}
    assert train_paths(read("train/images/cat,dog", "test/images/cat,dog")) == {"train/images/cat", "train/images/dog"}


def test_what_is_left_out_is_named_but_for_what_systems_leave_behind() -> None:
    found = listing("photos/cat,dog", "photos/.owl", "photos/cat/.ipynb_checkpoints", "__MACOSX/photos/cat")
    found.files += ["photos/dog/a.HEIC", "photos/dog/b.heic", "photos/list.csv", "photos/LICENSE", "photos/cat/._0.png"]
    found.files += ["photos/cat/.0.png", "photos/.DS_Store", "photos/cat/Thumbs.db"]
    layout = find_layout(found, "mine.zip")
    assert layout.classes == ("cat", "dog") and len(layout.paths) == 8
    assert layout.left_out == (
        "Images left out, for a name there begins with a dot: photos/.owl/ (4), photos/cat/.0.png (1)",
        "Files left out that are no images by their names: .heic (2), .csv (1), LICENSE (1)",
    )
    assert read("cat,dog").left_out == ()


def test_split_inside_each_class() -> None:
    found = read("cat,dog/Train,Test")
    assert found.classes == ("cat", "dog") and train_paths(found) == {"cat/Train", "dog/Train"}


@pytest.mark.parametrize(
    "patterns",
    [
        ("phase1,phase2/cat,dog",), ("A,B,C/cat,dog,owl",), ("images,annotations/cat,dog",), ("images,annotations",),
        ("Images,Labels/a,b",), ("train,test/images,masks",), ("train,test/2019,2020/cat,dog",),
        ("site1,site2/train,test/cat,dog",),
        ("train/cat,dog", "owl,fox"), ("train,Training/cat,dog", "test/cat,dog"),
    ],
)  # fmt: skip
def test_what_may_be_a_split_is_refused_with_the_tree_and_a_way_out(patterns: tuple[str, ...]) -> None:
    said = refusal(*patterns)
    top = patterns[0].split(",")[0].split("/")[0]
    assert said.startswith("mine.zip: ") and "set data.layout=classes" in said and f"\n  {top}/: " in said
    assert "image(s)" in said
    found = read(*patterns, layout="classes")
    assert found.classes == tuple(sorted({name for p in patterns for name in p.split("/")[0].split(",")}))


def test_split_that_is_not_complete_is_refused() -> None:
    assert "there is Testing/, Validation/ but no train/" in refusal("Testing,Validation/cat,dog")
    assert "beside train/ and test/ there is val; move those images" in refusal("train,test,val/cat,dog")
    assert "beside Train/ and Test/ there is extra; move those images" in refusal("Train,Test,extra/cat,dog")
    assert "Train/ lacks 1 class folder(s) that Test/ has: owl" in refusal("Train/cat,dog", "Test/cat,dog,owl")
    assert "8 image(s) lie in no class folder: Test/0.png" in refusal("Train,Test")


@pytest.mark.parametrize(
    ("patterns", "classes"),
    [
        (("cat,dog",), "cat dog"),
        (("car,plane,test,train",), "car plane test train"),
        (("cat,dog/images",), "cat dog"),
        (("animals/cat,dog", "vehicles/car,bus"), "animals vehicles"),
        (("cat/a,b", "dog"), "cat dog"),
        (("mask,no_mask",), "mask no_mask"),
        (("valid,invalid",), "invalid valid"),
        (("my_test/cat,dog",), "cat dog"),
    ],
)
def test_plain_classes_stay_classes(patterns: tuple[str, ...], classes: str) -> None:
    assert read(*patterns).classes == tuple(classes.split())


def test_names_that_only_contain_a_word_of_a_split_are_none() -> None:
    assert [role(name) for name in ("train_station", "test_tube", "protest", "trainer", "cat", "2019")] == [None] * 6


def test_fingerprints_of_before_the_setting_stay_and_it_survives_yaml() -> None:
    data = {"name": "folder", "path": "/photos", "split": "position"}
    spec = ExperimentSpec(data=data, student="resnet8x4", method="none")
    assert spec.fingerprint() == FINGERPRINT_BEFORE
    classes = ExperimentSpec(data=data | {"layout": "classes"}, student="resnet8x4", method="none")
    assert classes.fingerprint() != FINGERPRINT_BEFORE
    assert ExperimentSpec.from_yaml(classes.to_yaml()) == classes


def load(path: Path, tmp_path: Path, **options: str) -> tuple[tuple[str, ...], str]:
    bundle = load_dataset("folder", tmp_path / "ws" / "datasets", 16, options={"path": str(path)} | options)
    return bundle.classes, bundle.digest


def age(tmp_path: Path) -> None:
    """Makes every store one of an earlier version."""
    for file in (tmp_path / "ws" / "cache" / "stores").glob("*/meta.json"):
        meta = json.loads(file.read_text())
        del meta["reading"]
        file.write_text(json.dumps(meta))


def test_store_that_an_earlier_version_misread_is_built_again(tmp_path: Path) -> None:
    # A fifth of each part was carved as the test part: as many training images as the split itself has.
    files = image_files({"cat": 8, "dog": 8}, "Training/") | image_files({"cat": 2, "dog": 2}, "Testing/")
    path = as_zip(tmp_path / "mine.zip", files)
    right = load(path, tmp_path)
    store = next((tmp_path / "ws" / "cache" / "stores").glob("*/meta.json")).parent
    labels = np.load(store / "labels.npy")
    np.save(store / "labels.npy", np.array([0] * 4 + [1] * 12 + [0] + [1] * 3))
    age(tmp_path)
    assert load(path, tmp_path) == right
    np.testing.assert_array_equal(np.load(store / "labels.npy"), labels)


def test_store_of_an_earlier_version_that_was_right_is_kept(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "mine", image_files({"cat": 5, "dog": 5}))
    before = load(path, tmp_path)
    age(tmp_path)
    images = next((tmp_path / "ws" / "cache" / "stores").glob("*/images.npy"))
    written = images.stat().st_mtime_ns
    assert load(path, tmp_path) == before and images.stat().st_mtime_ns == written
