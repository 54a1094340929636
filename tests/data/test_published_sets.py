"""The published data sets that are not CIFAR: small archives of the same layouts, right ones and wrong ones."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from archives import LoopbackServer, as_tar, as_zip, idx_file, png, random_image

from kdengine.data import DatasetBundle, load_dataset
from kdengine.data.definition import DatasetDefinition
from kdengine.data.sources import decoding
from kdengine.data.sources.containers import Container
from kdengine.data.sources.decoding import decode_files
from kdengine.errors import DataError
from kdengine.registry import DATASETS

Images = list[tuple[np.ndarray, int]]

TEN = [3, 0, 7, 1, 9, 2, 8, 4, 6, 5]  # every class of ten, since a class without images is refused


@dataclass
class Small:
    """A small edition of a data set: its files, and what must be read out of them.

    ``files``: content by name of the published file; that of an archive is still a dict of its members.
    """

    files: dict[str, bytes | dict[str, bytes]]
    classes: tuple[str, ...]
    train: Images
    test: Images
    size: int = 8
    options: dict[str, object] = field(default_factory=dict)


def images(seed: int, labels: list[int], size: int = 8) -> Images:
    rng = np.random.default_rng(seed)
    return [(random_image(rng, size), label) for label in labels]


def lines(*rows: object) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def mat(**arrays: np.ndarray) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, arrays, do_compression=True)
    return buffer.getvalue()


def mnist() -> Small:
    train, test = images(1, [*TEN, 3, 0], 28), images(2, TEN[::-1], 28)
    grey = [[(np.repeat(p[..., :1], 3, axis=2), label) for p, label in part] for part in (train, test)]
    files: dict[str, bytes | dict[str, bytes]] = {}
    for prefix, part in zip(("train", "t10k"), grey, strict=True):
        files[f"{prefix}-images-idx3-ubyte.gz"] = idx_file(np.stack([p[..., 0] for p, _ in part]))
        files[f"{prefix}-labels-idx1-ubyte.gz"] = idx_file(np.array([label for _, label in part], np.uint8))
    return Small(files, tuple("0123456789"), *grey, size=28)


def svhn_file(part: Images) -> bytes:
    labels = np.array([[label or 10] for _, label in part], np.uint8)
    return mat(X=np.stack([image for image, _ in part], axis=3), y=labels)


def svhn() -> Small:
    train, test = images(1, [*TEN, 3, 0], 32), images(2, TEN[::-1], 32)
    files = {"train_32x32.mat": svhn_file(train), "test_32x32.mat": svhn_file(test)}
    return Small(files, tuple("0123456789"), train, test, size=32)


def svhn_extra() -> Small:
    small, extra = svhn(), images(3, [9, 9, 0, 1], 32)
    files = small.files | {"extra_32x32.mat": svhn_file(extra)}
    return dataclasses.replace(small, files=files, train=small.train + extra, options={"extra": True})


def stl10() -> Small:
    train, test = images(1, [2, 0, 1], 96), images(2, [0, 2, 1], 96)
    archive = {
        "class_names.txt": lines("airplane", "bird", "car"),
        "unlabeled_X.bin": b"not read",
        "fold_indices.txt": b"",
    }
    for name, part in (("train", train), ("test", test)):
        # A plane a colour, each column by column.
        archive[f"{name}_X.bin"] = b"".join(image[:, :, c].T.tobytes() for image, _ in part for c in range(3))
        archive[f"{name}_y.bin"] = bytes(label + 1 for _, label in part)
    files = {"stl10_binary.tar.gz": {f"stl10_binary/{name}": content for name, content in archive.items()}}
    return Small(files, ("airplane", "bird", "car"), train, test, size=96)


def tiny_imagenet() -> Small:
    # Labels in the order of the ids, whatever the order in wnids.txt; number 10 comes behind number 9.
    ids = ("n01", "n02", "n03")
    train, test = images(1, [0, 0, 0, 1, 2]), images(2, [2, 0, 1])
    grey = np.repeat(train[0][0][..., :1], 3, axis=2)
    train[0] = (grey, 0)
    archive = {
        "wnids.txt": lines("n03", "n01", "n02"),
        "words.txt": lines("n00\tentity", "n01\tcrane", "n02\tcrane, some bird", "n03\tgoldfish, Carassius auratus"),
        "val/val_annotations.txt": lines(
            *(f"val_{n}.JPEG\t{ids[label]}\t0\t0\t7\t7" for n, (_, label) in enumerate(test))
        ),
        "test/images/test_0.JPEG": png(train[0][0]),
        "train/n01/n01_boxes.txt": b"n01_1.JPEG\t0\t0\t7\t7",
    }
    for number, (image, label) in zip((2, 9, 10, 0, 0), train, strict=True):
        content = png(image[..., 0] if image is grey else image)
        archive[f"train/{ids[label]}/images/{ids[label]}_{number}.JPEG"] = content
    for number, (image, _) in enumerate(test):
        archive[f"val/images/val_{number}.JPEG"] = png(image)
    files = {"tiny-imagenet-200.zip": {f"tiny-imagenet-200/{name}": content for name, content in archive.items()}}
    return Small(files, ("crane (n01)", "crane (n02)", "goldfish"), train, test)


def cub200() -> Small:
    folders = ("001.Black_footed_Albatross", "002.Wild-cat_St._Bird")
    train, test = images(1, [0, 1, 1]), images(2, [0, 1])
    everything = [(*train[0], 1), (*test[0], 0), (*train[1], 1), (*train[2], 1), (*test[1], 0)]
    names = [f"{folders[label]}/bird_{n}.jpg" for n, (_, label, _) in enumerate(everything, 1)]
    archive = {f"images/{name}": png(image) for name, (image, _, _) in zip(names, everything, strict=True)} | {
        "classes.txt": lines(*(f"{n} {folder}" for n, folder in enumerate(folders, 1))),
        "images.txt": lines(*(f"{n} {name}" for n, name in enumerate(names, 1))),
        "image_class_labels.txt": lines(*(f"{n} {label + 1}" for n, (_, label, _) in enumerate(everything, 1))),
        "train_test_split.txt": lines(*(f"{n} {part}" for n, (_, _, part) in enumerate(everything, 1))),
    }
    files = {"CUB_200_2011.tgz": {f"CUB_200_2011/{name}": content for name, content in archive.items()}}
    return Small(files, ("Black footed Albatross", "Wild-cat St. Bird"), train, test)


def mit67() -> Small:
    folders = ("airport_inside", "bar")
    train, test = images(1, [1, 0, 1]), images(2, [0, 1])
    named = [[(f"{folders[label]}/a  room %20_{n}.jpg", p) for n, (p, label) in enumerate(part, start)]
             for start, part in ((0, train), (5, test))]  # fmt: skip
    archive = {f"Images/{name}": png(image) for part in named for name, image in part}
    archive["Images/bar/not listed.jpg"] = b"no image"
    files: dict[str, bytes | dict[str, bytes]] = {"indoorCVPR_09.tar": archive}
    files |= {
        f"{part}Images.txt": "\n".join(name for name, _ in listed).encode()
        for part, listed in zip(("Train", "Test"), named, strict=True)
    }
    return Small(files, ("airport inside", "bar"), train, test)


def flowers102() -> Small:
    train, test = images(1, [5, *range(102)]), images(2, [*reversed(range(102))])
    numbers = {"trnid": [4, 2], "valid": [*range(104, 205)], "tstid": [1, 3, *range(5, 104), 205]}
    order = [number for part in numbers.values() for number in part]
    labels = np.zeros(205, np.uint8)
    archive = {}
    for number, (image, label) in zip(order, train + test, strict=True):
        archive[f"jpg/image_{number:05}.jpg"] = png(image)
        labels[number - 1] = label + 1
    parts = {name: np.array([part], np.uint16) for name, part in numbers.items()}
    files = {"102flowers.tgz": archive, "imagelabels.mat": mat(labels=labels[None]), "setid.mat": mat(**parts)}
    names = DATASETS.get("flowers102").classes  # type: ignore[attr-defined]
    return Small(files, names, train, test)


def oxford_pets() -> Small:
    breeds = ("Abyssinian", "american_bulldog")
    train, test = images(1, [1, 0, 0]), images(2, [0, 1])
    archive, lists = {}, {}
    for name, part, start in (("trainval", train, 100), ("test", test, 1)):
        ids = [f"{breeds[label]}_{start + n}" for n, (_, label) in enumerate(part)]
        archive |= {f"images/{id_}.jpg": png(image) for id_, (image, _) in zip(ids, part, strict=True)}
        rows = [f"{id_} {label + 1} 1 1" for id_, (_, label) in zip(ids, part, strict=True)]
        lists[f"annotations/{name}.txt"] = lines(*rows)
    archive["images/Abyssinian_100.mat"] = b"beside the images"
    files = {"images.tar.gz": archive, "annotations.tar.gz": lists}
    return Small(files, ("Abyssinian", "American Bulldog"), train, test)


SETS: dict[str, Callable[[], Small]] = {
    "mnist": mnist,
    "svhn": svhn,
    "svhn with extra": svhn_extra,
    "stl10": stl10,
    "tiny_imagenet": tiny_imagenet,
    "cub200": cub200,
    "mit67": mit67,
    "flowers102": flowers102,
    "oxford_pets": oxford_pets,
}


@dataclass
class Shop:
    """Serves small editions, whose checksums the definitions then expect."""

    server: LoopbackServer
    monkeypatch: pytest.MonkeyPatch
    root: Path

    def publish(self, name: str, small: Small) -> DatasetDefinition:
        definition = DATASETS.get(name)
        self.monkeypatch.setattr(definition, "files", tuple(self._file(file, small) for file in definition.files))
        if "extra_32x32.mat" in small.files:
            self.monkeypatch.setattr(definition, "extra", self._file(definition.extra, small))
        return definition

    def _file(self, published, small: Small):
        content = small.files[published.filename]
        if isinstance(content, dict):
            modes = {".zip": None, ".tar": "w", ".tgz": "w:gz", ".gz": "w:gz"}
            mode = modes[Path(published.filename).suffix]
            place = self.root.parent / "packed"
            content = (as_tar(place, content, mode) if mode else as_zip(place, content)).read_bytes()
        self.server.contents[published.place] = content
        return dataclasses.replace(published, md5=hashlib.md5(content).hexdigest(), size=len(content))

    def load(self, name: str, small: Small, **arguments: object) -> DatasetBundle:
        self.publish(name, small)
        return load_dataset(name, self.root, small.size, validation=0, options=small.options, **arguments)


@pytest.fixture
def shop(tmp_path: Path, server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(server, monkeypatch, tmp_path / "datasets")


@pytest.mark.parametrize("edition", SETS)
def test_a_small_archive_is_read_right(shop: Shop, edition: str) -> None:
    name, small = edition.split()[0], SETS[edition]()
    bundle = shop.load(name, small)
    assert bundle.classes == small.classes and len(set(bundle.classes)) == len(bundle.classes)
    for part, wanted in ((bundle.train, small.train), (bundle.test, small.test)):
        assert part.labels.tolist() == [label for _, label in wanted]
        np.testing.assert_array_equal(part.take(np.arange(len(part))), np.stack([image for image, _ in wanted]))


@pytest.mark.parametrize("edition", SETS)
def test_it_is_here_once_all_its_files_are(shop: Shop, edition: str) -> None:
    name, small = edition.split()[0], SETS[edition]()
    definition = shop.publish(name, small)
    params = definition.Params(**small.options)
    for file in definition.needed(params):
        assert not definition.present(params, shop.root)
        file.path(shop.root).parent.mkdir(parents=True, exist_ok=True)
        file.path(shop.root).write_bytes(shop.server.contents[file.place])
    assert definition.present(params, shop.root)


WITHOUT = [
    ("stl10", "stl10_binary.tar.gz", "stl10_binary/test_y.bin", r"lacks stl10_binary/test_y\.bin"),
    ("tiny_imagenet", "tiny-imagenet-200.zip", "tiny-imagenet-200/words.txt", r"lacks tiny-imagenet-200/words\.txt"),
    ("tiny_imagenet", "tiny-imagenet-200.zip", "tiny-imagenet-200/train/n03/images/n03_0.JPEG", "of the classes n03"),
    ("tiny_imagenet", "tiny-imagenet-200.zip", "tiny-imagenet-200/val/images/val_1.JPEG", r"val_1\.JPEG \(could not"),
    ("cub200", "CUB_200_2011.tgz", "CUB_200_2011/classes.txt", r"lacks CUB_200_2011/classes\.txt"),
    ("cub200", "CUB_200_2011.tgz", "CUB_200_2011/images/001.Black_footed_Albatross/bird_1.jpg", r"lacks 1 image"),
    ("mit67", "indoorCVPR_09.tar", "Images/bar/a  room %20_0.jpg", "lacks 1 image.*Images/bar/a  room %20_0"),
    ("flowers102", "102flowers.tgz", "jpg/image_00005.jpg", r"lacks 1 image.*image_00005\.jpg"),
    ("oxford_pets", "images.tar.gz", "images/Abyssinian_1.jpg", r"lacks 1 image.*Abyssinian_1\.jpg"),
    ("oxford_pets", "annotations.tar.gz", "annotations/test.txt", r"lacks annotations/test\.txt"),
]


@pytest.mark.parametrize(("name", "file", "member", "words"), WITHOUT)
def test_an_archive_without_a_member_is_refused(shop: Shop, name: str, file: str, member: str, words: str) -> None:
    small = SETS[name]()
    del small.files[file][member]
    with pytest.raises(DataError, match=rf"{words}.*; it is not the published archive of {DATASETS.get(name).title}"):
        shop.load(name, small)
    assert not list((shop.root.parent / "cache" / "stores").glob("*/")), "nothing half-built is left"


@pytest.mark.parametrize("name", ["stl10", "cub200", "mit67", "flowers102", "oxford_pets"])
def test_the_archive_of_another_data_set_is_refused(shop: Shop, name: str) -> None:
    small = SETS[name]()
    archive = next(file for file, content in small.files.items() if isinstance(content, dict))
    small.files[archive] = {"cifar-10-batches-py/data_batch_1": b"x"}
    with pytest.raises(DataError, match=rf"it is not the published archive of {DATASETS.get(name).title}"):
        shop.load(name, small)


def in_tiny(member: str, content: bytes) -> Callable[[Small], None]:
    return lambda small: small.files["tiny-imagenet-200.zip"].update({f"tiny-imagenet-200/{member}": content})


def in_cub(member: str, content: bytes) -> Callable[[Small], None]:
    return lambda small: small.files["CUB_200_2011.tgz"].update({f"CUB_200_2011/{member}": content})


def file(name: str, content: bytes) -> Callable[[Small], None]:
    return lambda small: small.files.update({name: content})


ZEROS = np.zeros((32, 32, 3, 2), np.uint8)
WRONG = [
    ("mnist", file("t10k-labels-idx1-ubyte.gz", idx_file(np.array([1, 2, 12], np.uint8))), "3 labels for 10 "),
    ("svhn", file("test_32x32.mat", b"MATLAB 5.0 MAT-file" + bytes(200)), "cannot be read as a MATLAB file"),
    ("svhn", file("test_32x32.mat", mat(X=ZEROS)), "no array of numbers 'y'"),
    ("svhn", file("test_32x32.mat", mat(X=ZEROS, y=np.array([["a", "b"]], object))), "no array of numbers 'y'"),
    ("svhn", file("test_32x32.mat", mat(X=ZEROS, y=np.array([[1], [11]]))), r"labels outside of 1\.\.10"),
    ("svhn", file("test_32x32.mat", mat(X=ZEROS, y=np.array([[1], [2], [3]]))), r"expected uint8 \(32, 32, 3, 3\)"),
    ("stl10", lambda small: small.files["stl10_binary.tar.gz"].update({"stl10_binary/test_y.bin": b"\1\4\1"}), "1..3"),
    ("stl10", lambda small: small.files["stl10_binary.tar.gz"].update({"stl10_binary/test_X.bin": b"\1"}), "1 bytes"),
    ("tiny_imagenet", in_tiny("val/val_annotations.txt", lines("val_0.JPEG n09 0 0 7 7")), "class n09, which"),
    ("tiny_imagenet", in_tiny("val/val_annotations.txt", lines("val_0.JPEG n01")), "expected 6 words"),
    ("tiny_imagenet", in_tiny("wnids.txt", b"\xff\xfe"), "is no text"),
    ("tiny_imagenet", in_tiny("val/images/val_0.JPEG", b"GIF8 no more"), r"val_0\.JPEG \(not an image"),
    ("cub200", in_cub("train_test_split.txt", lines("1 1", "2 0")), "do not belong together"),
    ("cub200", in_cub("train_test_split.txt", lines(*(f"{n} 1" for n in range(1, 6)))), "5 training and 0 test"),
    ("cub200", in_cub("train_test_split.txt", lines(*(f"{n} {n % 3}" for n in range(1, 6)))), "neither 1 nor 0"),
    ("cub200", in_cub("images.txt", lines(*(f"{n} 001.Black/bird_1.jpg" for n in range(1, 6)))), "listed twice"),
    ("mit67", file("TestImages.txt", b"bar/a.jpg\nattic/b.jpg"), "other classes .*: airport_inside, attic"),
    ("mit67", file("TestImages.txt", b"\n"), "is empty"),
    ("flowers102", file("imagelabels.mat", mat(labels=np.array([[1, 2]]))), r"outside of 1\.\.2"),
    ("flowers102", file("imagelabels.mat", mat(labels=np.full((1, 205), 103))), "outside of its 102 classes"),
    (
        "oxford_pets",
        lambda small: small.files["annotations.tar.gz"].update({"annotations/test.txt": b"Abyssinian_1 2 1 1\n"}),
        "do not belong together: Abyssinian_1",
    ),
    (
        "oxford_pets",
        lambda small: small.files["annotations.tar.gz"].update({"annotations/test.txt": b"Abyssinian_1 x 1 1\n"}),
        "label 'x', expected a number",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "words"), WRONG)
def test_what_does_not_fit_is_named(shop: Shop, name: str, spoil: Callable[[Small], None], words: str) -> None:
    small = SETS[name]()
    spoil(small)
    with pytest.raises(DataError, match=words):
        shop.load(name, small)


@pytest.mark.parametrize("name", ["stl10", "svhn"])
def test_arrays_are_read_as_torchvision_reads_them(shop: Shop, name: str, tmp_path: Path) -> None:
    from torchvision import datasets

    cls = {"stl10": datasets.STL10, "svhn": datasets.SVHN}[name]
    bundle = shop.load(name, SETS[name]())
    folder = shop.root / name
    if name == "stl10":
        with tarfile.open(folder / "stl10_binary.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    shop.monkeypatch.setattr(cls, "_check_integrity", lambda self: True)
    for split, part in (("train", bundle.train), ("test", bundle.test)):
        theirs = cls(str(folder), split)
        assert [int(label) for _, label in theirs] == part.labels.tolist()
        np.testing.assert_array_equal(np.stack([np.asarray(p) for p, _ in theirs]), part.take(np.arange(len(part))))


def test_checksums_and_names_are_those_of_torchvision() -> None:
    from torchvision import datasets

    published = {
        "mnist": [md5 for _, md5 in datasets.MNIST.resources],
        "fashion_mnist": [md5 for _, md5 in datasets.FashionMNIST.resources],
        "svhn": [datasets.SVHN.split_list[part][2] for part in ("train", "test")],
        "stl10": [datasets.STL10.tgz_md5],
        "flowers102": [datasets.Flowers102._file_dict[part][1] for part in ("image", "label", "setid")],
        "oxford_pets": [md5 for _, md5 in datasets.OxfordIIITPet._RESOURCES],
    }
    assert {name: [file.md5 for file in DATASETS.get(name).files] for name in published} == published
    assert DATASETS.get("svhn").extra.md5 == datasets.SVHN.split_list["extra"][2]
    assert list(DATASETS.get("flowers102").classes) == datasets.Flowers102.classes


def test_each_set_knows_whether_a_mirrored_image_is_the_same() -> None:
    flips = {name.split()[0]: DATASETS.get(name.split()[0]).flip for name in SETS}
    assert [name for name, flip in flips.items() if not flip] == ["mnist", "svhn"]
    assert all(DATASETS.get(name).normalisation is None for name in flips)


class Counted(Container):
    """A thousand tiny images, and how many of them were read."""

    def __init__(self) -> None:
        super().__init__(Path("counted"))
        self.content = png(np.zeros((8, 8, 3), np.uint8))
        self.taken = 0

    def identity(self) -> str:
        return "counted"

    def listing(self):  # type: ignore[no-untyped-def]
        raise AssertionError("not asked for")

    def read(self, wanted) -> Iterator[tuple[str, bytes]]:  # type: ignore[no-untyped-def]
        for number in range(1000):
            self.taken += 1
            yield str(number), self.content


def test_pictures_stream_with_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BATCH_IMAGES", 4)
    monkeypatch.setattr(decoding.os, "cpu_count", lambda: 2)
    container, seen = Counted(), 0
    for rows, block in decode_files(container, [str(number) for number in range(1000)], 8, []):
        assert container.taken - seen <= 4 * (2 * 2 + 2), "read far ahead of what was taken"
        assert block.shape == (len(rows), 8, 8, 3)
        seen += len(rows)
    assert seen == 1000
