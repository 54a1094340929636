"""One's own images: layouts, archives good and hostile, and every kind of bad input."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives import PACKERS, as_folder, as_tar, as_zip, image_files, png
from PIL import Image

from kdengine.data import DatasetBundle, load_dataset
from kdengine.data.sources import guard
from kdengine.data.sources import image_files as images
from kdengine.errors import BadInput, DataError

SPLIT = image_files({"cat": 6, "dog": 8}, "train/") | image_files({"cat": 3, "dog": 2}, "test/")
ALONE = image_files({"cat": 10, "dog": 20})


def load(path: Path, tmp_path: Path, **arguments: object) -> DatasetBundle:
    options = {"path": str(path)} | dict(arguments.pop("options", {}))
    size = arguments.pop("image_size", 16)
    return load_dataset("folder", tmp_path / "ws" / "datasets", size, options=options, **arguments)


def message(path: Path, tmp_path: Path, **arguments: object) -> str:
    with pytest.raises(DataError) as caught:
        load(path, tmp_path, **arguments)
    return str(caught.value)


@pytest.mark.parametrize("wrapper", ["", "mine/"])
@pytest.mark.parametrize("kind", PACKERS)
def test_split_layout_in_every_container(tmp_path: Path, kind: str, wrapper: str) -> None:
    files = {wrapper + name: content for name, content in SPLIT.items()}
    files |= {wrapper + "train/cat/.DS_Store": b"x", "__MACOSX/mine/._a.png": b"x", wrapper + "train/notes.txt": b"x"}
    bundle = load(PACKERS[kind](tmp_path, files), tmp_path, validation=0)
    assert bundle.classes == ("cat", "dog")
    assert bundle.train.labels.tolist() == [0] * 6 + [1] * 8 and bundle.test.labels.tolist() == [0] * 3 + [1] * 2
    expected = [np.asarray(Image.open(io.BytesIO(SPLIT[name]))) for name in sorted(SPLIT) if name.startswith("train")]
    np.testing.assert_array_equal(bundle.train.take(np.arange(14)), np.stack(expected))


def test_digest_is_that_of_the_content_wherever_it_lies(tmp_path: Path) -> None:
    digests = {load(PACKERS[kind](tmp_path, SPLIT), tmp_path).digest for kind in PACKERS}
    assert len(digests) == 1
    changed = SPLIT | {"train/cat/000.png": png(np.zeros((16, 16, 3), np.uint8))}
    assert load(as_zip(tmp_path / "changed.zip", changed), tmp_path).digest not in digests


@pytest.mark.parametrize("prefix", ["", "train/", "mine/train/"])
def test_classes_alone_get_a_fixed_stratified_test_part(tmp_path: Path, prefix: str) -> None:
    path = as_folder(tmp_path / "p", {prefix + name: content for name, content in ALONE.items()})
    one, two = load(path, tmp_path, split_seed=0), load(path, tmp_path, split_seed=9)
    assert np.bincount(one.test.labels).tolist() == [2, 4]
    np.testing.assert_array_equal(one.test.take(np.arange(6)), two.test.take(np.arange(6)))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "p", image_files({"car": 4, "plane": 4, "test": 4, "train": 4}))
    assert load(path, tmp_path).classes == ("car", "plane", "test", "train")


def test_pictures_of_all_kinds_become_square_rgb(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 20 * 20).reshape(20, 20).astype(np.uint8)
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (10, 200, 30)  # only the centre is kept
    sixteen = Image.fromarray((np.full((20, 20), 0x8000)).astype(np.uint16))
    tall = Image.new("RGB", (20, 40), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    turned = Image.fromarray(np.concatenate([np.zeros((20, 10, 3), np.uint8), np.full((20, 10, 3), 255, np.uint8)], 1))
    frames = [Image.new("P", (20, 20), 0), Image.new("P", (20, 20), 1)]
    files = {}
    for name, image, arguments in (
        ("a.PNG", Image.fromarray(grey), {"format": "PNG"}),
        ("b.png", Image.fromarray(wide), {"format": "PNG"}),
        ("c.png", sixteen, {"format": "PNG"}),
        ("d.bmp", tall, {"format": "BMP"}),
        ("e.webp", tall, {"format": "WEBP", "lossless": True}),
        ("f.gif", frames[0], {"format": "GIF", "save_all": True, "append_images": frames[1:]}),
        ("g.jpeg", turned, {"format": "JPEG", "exif": exif, "quality": 95}),
        ("h.TIF", sixteen, {"format": "TIFF"}),
        ("i.jfif", tall, {"format": "JPEG"}),
        ("j.ppm", Image.fromarray(wide), {"format": "PPM"}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, **arguments)
        files[f"train/x/{name}"] = buffer.getvalue()
    files |= image_files({"y": 3}, "train/") | image_files({"x": 1, "y": 1}, "test/")
    stored = load(as_folder(tmp_path / "p", files), tmp_path, validation=0, image_size=20).train.take(np.arange(10))
    for channel in range(3):
        np.testing.assert_array_equal(stored[0, ..., channel], grey)
    assert np.all(stored[1] == (10, 200, 30))
    assert np.all(stored[2] == 128)
    assert np.all(stored[3] == (255, 0, 0)) and np.all(stored[4] == (255, 0, 0))
    assert len(np.unique(stored[5].reshape(-1, 3), axis=0)) == 1
    assert stored[6, :8].max() < 20 and stored[6, 12:].min() > 235
    assert np.all(stored[7] == 128) and stored[8, ..., 0].min() > 250 and np.all(stored[9] == (10, 200, 30))


def test_transparent_parts_are_laid_on_the_ground_that_was_asked_for(tmp_path: Path) -> None:
    drawing = Image.new("RGBA", (20, 20), (255, 0, 0, 0))  # a black square on nothing, whose colour is red
    drawing.paste((0, 0, 0, 255), (0, 0, 20, 10))
    buffer = io.BytesIO()
    drawing.save(buffer, "PNG")
    path = as_folder(tmp_path / "p", {f"{name}/{n}.png": buffer.getvalue() for name in "ab" for n in range(4)})
    stored = {
        ground: load(path, tmp_path, image_size=20, options={"transparent": ground}).train.take([0])[0]
        for ground in ("white", "black", "dropped")
    }
    assert {ground: tuple(pixels[15, 5]) for ground, pixels in stored.items()} == {
        "white": (255, 255, 255), "black": (0, 0, 0), "dropped": (255, 0, 0),
    }  # fmt: skip
    assert all(tuple(pixels[5, 5]) == (0, 0, 0) for pixels in stored.values())
    assert np.array_equal(load(path, tmp_path, image_size=20).train.take([0])[0], stored["dropped"]), "as before"


def test_numbers_of_no_known_range_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)).save(buffer, "TIFF")
    path = as_folder(tmp_path / "p", ALONE | {"cat/depth.tif": buffer.getvalue()})
    assert "cat/depth.tif: its pixels are floating-point numbers" in message(path, tmp_path)


def test_what_an_earlier_version_passed_over_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "TIFF")
    path = as_folder(tmp_path / "p", ALONE | {f"cat/{number}.tif": buffer.getvalue() for number in range(5)})
    with monkeypatch.context() as patch:
        patch.setattr("kdengine.data.sources.left_out.EXTENSIONS", {".png"})
        patch.setattr("kdengine.data.catalog.folder.Folder.reading", 2)
        before = load(path, tmp_path)
    now = load(path, tmp_path)
    assert [sum(map(len, (each.train, each.validation, each.test))) for each in (before, now)] == [
        len(ALONE),
        len(ALONE) + 5,
    ]


def test_bigger_images_are_reduced_with_antialias(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    big = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    files = SPLIT | {"train/cat/000.png": png(big)}
    stored = load(as_folder(tmp_path / "p", files), tmp_path, validation=0).train.take([0])[0]
    shorter_first = Image.fromarray(big).resize((24, 16), Image.Resampling.BILINEAR).crop((4, 0, 20, 16))
    assert np.abs(stored.astype(int) - np.asarray(shorter_first).astype(int)).max() <= 2


def damage(files: dict[str, bytes], count: int) -> dict[str, bytes]:
    names = sorted(name for name in files if "train/" in name)[:count]
    return files | {name: files[name][:50] for name in names}


@pytest.mark.parametrize("kind", PACKERS)
def test_corrupt_images_are_named_or_skipped_on_request(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = image_files({"cat": 15, "dog": 6}, "train/") | image_files({"cat": 3, "dog": 2}, "test/")
    path = PACKERS[kind](tmp_path, damage(files, 12) | {"train/dog/000.png": b""})
    text = message(path, tmp_path)
    assert "holds 13 corrupt image(s)" in text and "train/cat/003.png: " in text and "... and 3 more" in text
    assert "on_corrupt=skip" in text
    assert not list((tmp_path / "ws" / "cache" / "stores").glob("*/")), "nothing half-built is left"
    bundle = load(path, tmp_path, options={"on_corrupt": "skip"}, validation=0)
    assert np.bincount(bundle.train.labels).tolist() == [3, 5]
    assert "13 corrupt image(s) were left out" in caplog.text
    kept = {image.tobytes() for image in bundle.train.take(np.arange(8))}
    assert np.asarray(Image.open(io.BytesIO(files["train/cat/014.png"]))).tobytes() in kept


def test_link_that_leads_nowhere_is_a_corrupt_image(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "p", SPLIT)
    (path / "train" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert "1 corrupt image(s):\n  train/cat/gone.png" in message(path, tmp_path)
    (path / "train" / "cat" / "gone.png").unlink()
    (tmp_path / "elsewhere.png").write_bytes(SPLIT["train/cat/000.png"])
    (path / "train" / "cat" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    assert len(load(path, tmp_path, validation=0).train) == 15


def test_skipping_a_whole_class_is_refused(tmp_path: Path) -> None:
    text = message(as_folder(tmp_path / "p", damage(SPLIT, 6)), tmp_path, options={"on_corrupt": "skip"})
    assert "no readable image is left" in text and "cat" in text


def test_zip_member_with_a_wrong_checksum_is_a_corrupt_image(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in SPLIT.items():
            archive.writestr(name, content)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(SPLIT["train/cat/002.png"], SPLIT["train/cat/002.png"][:-5] + b"12345"))
    assert "1 corrupt image(s):\n  train/cat/002.png" in message(path, tmp_path)


def test_image_with_too_many_pixels_is_corrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    files = SPLIT | {"train/cat/000.png": png(np.zeros((50, 50), np.uint8))}
    assert "2500 pixels, at most 1000" in message(as_folder(tmp_path / "p", files), tmp_path)


def test_layout_problems_are_all_named_at_once(tmp_path: Path) -> None:
    files = image_files({"cat": 3, "dog": 3, "owl": 1}, "train/") | image_files({"cat": 3, "fox": 2}, "test/")
    path = as_folder(tmp_path / "p", files | {"train/loose.png": files["train/cat/000.png"], "val/cat/1.png": b"x"})
    (path / "train" / "eel").mkdir()
    text = message(path, tmp_path)
    for part in (
        "there is val; move",
        "1 image(s) lie in no class folder: train/loose.png",
        "train/ has 1 class folder(s) without an image: eel",
        "train/ lacks 1 class folder(s) that test/ has: fox",
        "test/ lacks 3 class folder(s) that train/ has: dog, eel, owl",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "holds no image"),
        ({"cat/notes.txt": b"x", "dog/notes.txt": b"x"}, "holds no image"),
        (image_files({"cat": 3}), "at least 2 classes with images, found 1: cat"),
        (image_files({"cat": 3}, "train/") | image_files({"cat": 3}, "test/"), "found 1: cat"),
        (image_files({"cat": 3, "dog": 1}), "too few images to carve a test part from.*dog \\(1\\)"),
        (ALONE | {"owl/notes.txt": b"x"}, r"1 class folder\(s\) without an image: owl"),
        (ALONE | {"loose.png": b"x"}, r"1 image\(s\) lie in no class folder: loose.png"),
        (image_files({"cat": 3, "dog": 3}, "test/"), "there is test/ but no train/"),
        (
            image_files({"cat": 3, "dog": 3}, "data/") | {"data/preview.png": b"x"},
            r"^p: 1 image\(s\) lie beside the folders of data/ \(cat, dog\): data/preview.png; if those.*away",
        ),
        (
            image_files({"cat": 3, "dog": 3}, "data/") | {"preview.png": b"x"},
            r"^p: 1 image\(s\) lie beside the folders of data/ \(cat, dog\): preview.png; if",
        ),
        (
            {f"{name}/{n}.heic": b"x" for name in ("cat", "dog") for n in range(3)},
            r"no images by their names: \.heic \(6\)",
        ),
    ],
)
def test_bad_layouts(tmp_path: Path, files: dict[str, bytes], expected: str) -> None:
    path = as_folder(tmp_path / "p", files)
    path.mkdir(exist_ok=True)
    with pytest.raises(DataError, match=expected):
        load(path, tmp_path)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    assert "does not exist" in message(tmp_path / "nowhere", tmp_path)
    (tmp_path / "text.zip").write_text("no archive at all, " * 100)
    assert "is not an archive that can be read" in message(tmp_path / "text.zip", tmp_path)
    for kind, mark in (("7z", b"7z\xbc\xaf\x27\x1c"), ("rar", b"Rar!\x1a\x07\x01\x00"), ("zstd", b"\x28\xb5\x2f\xfd")):
        (tmp_path / "other.zip").write_bytes(mark + bytes(600))
        assert f"other.zip is a {kind} archive, which is not read here; unpack it" in message(
            tmp_path / "other.zip", tmp_path
        )
    (tmp_path / "empty.tar").touch()
    assert "is not an archive that can be read" in message(tmp_path / "empty.tar", tmp_path)
    for kind in ("w", "w:gz", "w:xz", "w:bz2"):
        whole = as_tar(tmp_path / "whole.tar", SPLIT, kind).read_bytes()
        (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
        assert "breaks off" in message(tmp_path / "cut.tar", tmp_path)
    plain = as_tar(tmp_path / "whole.tar", SPLIT, "w").read_bytes()
    for kept in (len(plain) // 1024 * 512, len(plain) // 2 + 100, plain.rindex(b"test/dog/001.png")):
        (tmp_path / "cut.tar").write_bytes(plain[:kept])
        assert "breaks off" in message(tmp_path / "cut.tar", tmp_path)
    (tmp_path / "bad.tar").write_bytes(plain.replace(b"test/dog/001.png", b"test/dog/0xx.png"))
    assert "breaks off" in message(tmp_path / "bad.tar", tmp_path)
    whole = as_zip(tmp_path / "whole.zip", SPLIT).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    assert "not an archive" in message(tmp_path / "cut.zip", tmp_path)


HOSTILE = ["../escape.png", "train/../../escape.png", "/etc/escape.png", "C:\\escape.png", "..\\escape.png"]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.xz"])
def test_names_that_lead_out_are_all_named(tmp_path: Path, kind: str) -> None:
    path = PACKERS[kind](tmp_path, SPLIT | {name: b"x" for name in HOSTILE})
    text = message(path, tmp_path)
    assert f"{len(HOSTILE)} member(s) that are refused" in text
    assert text.count("leads out of the archive") == 3 and text.count("an absolute name") == 2
    assert not list(tmp_path.rglob("escape.png"))


def test_links_devices_and_sparse_files_in_a_tar_are_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "p.tar", SPLIT, "w")
    with tarfile.open(path, "a") as archive:
        for name, kind in (
            ("s", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("d", tarfile.CHRTYPE),
            ("f", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(f"train/cat/{name}.png")
            member.type = kind
            member.linkname = "/etc/passwd"
            archive.addfile(member)
    text = message(path, tmp_path)
    assert "4 member(s)" in text and text.count("(a link)") == 2 and text.count("(a device)") == 2


def test_links_encrypted_and_repeated_members_of_a_zip_are_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "p.zip", SPLIT)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("train/cat/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("train/cat/000.png", b"again")
    text = message(path, tmp_path)
    assert "'train/cat/link.png' (a link)" in text and "(twice in the archive)" in text


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_bombs_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RATIO_CHECKED_ABOVE", 1 << 20)
    path = PACKERS[kind](tmp_path, SPLIT | {"train/cat/big.png": bytes(8 << 20)})
    assert "like a bomb" in message(path, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_limits_on_members_sizes_and_total(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = PACKERS[kind](tmp_path, SPLIT | {"train/cat/big.png": np.random.default_rng(0).bytes(100_000)})
    with monkeypatch.context() as patch:
        patch.setattr(guard, "MAX_MEMBERS", 5)
        assert "more than 5 members" in message(path, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(guard, "MAX_TOTAL_BYTES", 50_000)
        assert "unpacks to more than" in message(path, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(guard, "MAX_FILE_BYTES", 50_000)
        assert "'train/cat/big.png' (100000 bytes, at most 50000" in message(path, tmp_path)


def test_too_few_images_for_the_split_name_the_classes(tmp_path: Path) -> None:
    files = image_files({"cat": 6, "dog": 1}, "train/") | image_files({"cat": 1, "dog": 1}, "test/")
    path = as_folder(tmp_path / "p", files)
    with pytest.raises(BadInput, match=r"data.validation: too few training images.*the test images: dog \(1 of 2\)"):
        load(path, tmp_path)
    assert len(load(path, tmp_path, validation=0).train) == 7
    with pytest.raises(BadInput, match=r"data.per_class: 3 asked for.*dog \(1\)"):
        load(path, tmp_path, validation=0, per_class=3)


def test_a_changed_folder_gets_a_new_store(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "p", SPLIT)
    first = load(path, tmp_path, validation=0)
    as_folder(path, image_files({"owl": 2}, "train/", seed=5) | image_files({"owl": 2}, "test/", seed=5))
    assert load(path, tmp_path, validation=0).classes == ("cat", "dog", "owl")
    assert len(first.train.take(np.arange(14))) == 14
