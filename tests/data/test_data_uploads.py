"""Uploads are kept whole and readable or not at all, under names of all scripts; nothing half there is offered."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from archives import as_folder, as_tar, as_zip, image_files

from app import catalog
from kdengine import ExperimentSpec
from kdengine.assembly import preflight
from kdengine.data import load_dataset
from kdengine.data.sources.uploads import clean_name, keep_upload, sources
from kdengine.errors import BadInput, DataError
from kdengine.workspace import Workspace

ALONE = image_files({"cat": 5, "dog": 5})
NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "ws" / "datasets" / "own"


def load(path: Path, tmp_path: Path) -> tuple[str, ...]:
    return load_dataset("folder", tmp_path / "ws" / "datasets", 16, options={"path": str(path)}).classes


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("photos.zip", "photos.zip"),
        ("我的图片.tar.gz", "我的图片.tar.gz"),
        ("Ünï cöde (2).ZIP", "Ünï-cöde-2.zip"),
        ("e\N{COMBINING ACUTE ACCENT}te.zip", "\N{LATIN SMALL LETTER E WITH ACUTE}te.zip"),
        ("हिन्दी.zip", "हिन्दी.zip"),
        ("../../etc/a\\b\0\n\udce9.zip", "b.zip"),
        (".hidden.zip", "hidden.zip"),
        ("..", "images.zip"),
        ("no ending", "no-ending.zip"),
        ("图" * 200 + ".tgz", "图" * 38 + ".tgz"),
    ],
)
def test_names_keep_the_letters_of_all_scripts_and_nothing_else(given: str, kept: str) -> None:
    assert clean_name(given) == kept


def test_upload_is_kept_under_its_name_and_twice_under_two(own: Path, tmp_path: Path) -> None:
    source = as_zip(tmp_path / "upload.bin", image_files({"猫": 5, "狗": 5}))
    told: list[float] = []
    first = keep_upload(own, source, "我的图片.zip", lambda share, what: told.append(share)).path
    second = keep_upload(own, source, "我的图片.zip").path
    assert (first.name, second.name) == ("我的图片.zip", "2-我的图片.zip")
    assert sources(own) == [second, first] and first.read_bytes() == source.read_bytes()
    assert load(first, tmp_path) == ("狗", "猫")
    assert told == sorted(told) and told[-1] <= 1


def files_in(own: Path) -> list[str]:
    return [path.name for path in own.iterdir() if path.name != ".lock"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no archive at all", "mine.zip is not an archive that can be read"),
        (b"", "mine.zip is not an archive that can be read"),
        ({"cat/a.txt": b"x", "dog/b.txt": b"x"}, "mine.zip holds no image"),
        (image_files({"cat": 4}), "at least 2 classes with images, found 1: cat"),
        ({name: b"x" for name in ALONE}, "2 class(es) without an image that opens: cat, dog; e.g. cat/000.png: not"),
        (ALONE | {"../x.png": b"x"}, "'../x.png' (leads out of the archive)"),
    ],
)  # fmt: skip
def test_what_is_no_data_set_is_refused_in_words_and_not_kept(
    own: Path, tmp_path: Path, content: bytes | dict[str, bytes], said: str
) -> None:
    source = tmp_path / "upload.bin"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        as_zip(source, content)
    with pytest.raises(BadInput) as refused:
        keep_upload(own, source, "mine.zip")
    assert said in str(refused.value) and str(tmp_path) not in str(refused.value)
    assert files_in(own) == []


def test_full_disk_leaves_nothing(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_half(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:500])
        raise OSError(errno.ENOSPC, "No space left on device")

    source = as_zip(tmp_path / "upload.bin", ALONE)
    monkeypatch.setattr(shutil, "copyfile", copy_half)
    with pytest.raises(BadInput, match=r"mine\.zip cannot be kept: no space is left"):
        keep_upload(own, source, "mine.zip")
    assert files_in(own) == []


def test_what_killed_uploads_left_is_swept_after_a_day(own: Path, tmp_path: Path) -> None:
    own.mkdir(parents=True)
    for name, written in ((".upload-old", 0), (".upload-now", None)):
        (own / name).write_bytes(b"half")
        if written is not None:
            os.utime(own / name, (written, written))
    keep_upload(own, as_zip(tmp_path / "u.zip", ALONE), "mine.zip")
    assert sorted(files_in(own)) == [".upload-now", "mine.zip"]


def test_unclear_folders_are_kept_for_the_person_to_say_what_they_mean(own: Path, tmp_path: Path) -> None:
    source = as_zip(tmp_path / "u.zip", image_files({"a": 3, "b": 3}, "x/") | image_files({"a": 3, "b": 3}, "y/"))
    kept = keep_upload(own, source, "mine.zip").path
    with pytest.raises(DataError, match=r"set data\.layout=classes"):
        load(kept, tmp_path)


def test_listing_offers_nothing_hidden_and_no_name_that_a_spec_cannot_hold(own: Path) -> None:
    for name in ("mine.zip", ".upload-0123", ".mine.zip.0123.tmp", "notes.txt", f"{NOT_UTF8}.zip", "BIG.TAR"):
        own.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(b"x")
    for name in ("photos", ".git", NOT_UTF8):
        (own / name).mkdir()
    workspace = Workspace(own.parents[1])
    offered = catalog.datasets(workspace)
    assert [value for _, value in offered if value.startswith(catalog.OWN)] == [
        "own:BIG.TAR", "own:mine.zip", "own:photos"
    ]  # fmt: skip
    json.dumps(offered, ensure_ascii=False).encode()


def test_path_that_is_not_utf8_is_refused_in_words_and_others_survive_yaml() -> None:
    def spec(path: str) -> ExperimentSpec:
        data = {"name": "folder", "path": path}
        return ExperimentSpec.from_mapping({"data": data, "student": "resnet8x4", "method": "none"})

    with pytest.raises(BadInput, match=r"data\.path: the name is not UTF-8, .*; rename") as refused:
        spec(f"/photos/{NOT_UTF8}")
    str(refused.value).encode()
    kept = spec("/照片/我的 图片.zip")
    assert ExperimentSpec.from_yaml(kept.to_yaml()) == kept


class RawName(zipfile.ZipInfo):
    """A member whose name is written as those bytes, without the flag for UTF-8, as old packers did."""

    raw = b""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.raw, 0


def zip_of_bytes(path: Path, files: dict[bytes, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for raw, content in files.items():
            member = RawName(raw.decode("cp437"))
            member.raw = raw
            archive.writestr(member, content)
    return path


def tar_of_bytes(path: Path, files: dict[bytes, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for raw, content in files.items():
            member = tarfile.TarInfo(os.fsdecode(raw))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def folder_of_bytes(path: Path, files: dict[bytes, bytes]) -> Path:
    return as_folder(path, {os.fsdecode(raw): content for raw, content in files.items()})


@pytest.mark.parametrize("pack", [zip_of_bytes, tar_of_bytes, folder_of_bytes])
@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", "猫咪"),
        ("gb2312", "猫咪"),
        ("gbk", "貓咪"),
        ("gbk", "朱镕基"),
        ("latin-1", "Zürich"),
        ("cp437", "café"),
        ("big5", "貓咪"),
    ],
)
def test_class_names_in_any_encoding_are_text(tmp_path: Path, pack, codec: str, name: str) -> None:
    files = image_files({"class": 5, "dog": 5})
    raw = {key.encode().replace(b"class", name.encode(codec)): content for key, content in files.items()}
    bundle = load_dataset(
        "folder", tmp_path / "ws" / "datasets", 16, options={"path": str(pack(tmp_path / "mine", raw))}
    )
    assert len(bundle.classes) == 2 and len(bundle.train) + len(bundle.validation) + len(bundle.test) == 10
    "".join(bundle.classes).encode()
    if (
        codec in ("utf-8", "gb2312", "gbk")
        or (codec, pack) == ("cp437", zip_of_bytes)
        or (codec, pack) == ("latin-1", tar_of_bytes)
    ):
        assert bundle.classes == tuple(sorted(["dog", name]))


def test_name_that_claims_utf8_and_is_not_is_refused_in_words(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", image_files({"é": 3, "dog": 3}))
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(DataError, match=r"mine\.zip says that its names are UTF-8"):
        load(path, tmp_path)


def test_one_corrupt_image_is_one_problem_that_names_it(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "mine.zip", ALONE | {"cat/000.png": b"no image"})
    spec = ExperimentSpec(
        data={"name": "folder", "path": str(path), "image_size": 16}, student="resnet8x4", method="none"
    )
    with pytest.raises(BadInput) as refused:
        preflight(spec, Workspace(tmp_path / "ws"))
    [problem] = refused.value.problems
    assert problem.field == "data" and "cat/000.png: not an image in one of the formats" in problem.message
    assert "BytesIO" not in problem.message and str(tmp_path) not in problem.message


def test_a_class_that_cannot_be_paired_is_named(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "mine", image_files({"cat": 9, "dog": 3, "emu": 9}))
    data = {"name": "folder", "path": str(path), "image_size": 16}
    spec = ExperimentSpec(data=data, student="resnet8x4", method="cs_kd", recipe={"batch_size": 4})
    with pytest.raises(BadInput, match=r"cs_kd pairs .* a single training image is left of dog; add images"):
        preflight(spec, Workspace(tmp_path / "ws"))
    spec = ExperimentSpec(data=data, student="resnet8x4", method="none", recipe={"batch_size": 4})
    preflight(spec, Workspace(tmp_path / "ws"))


def test_problems_of_a_layout_stay_several(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "mine.tar", image_files({"cat": 3}) | {"loose.png": b"x"}, "w")
    spec = ExperimentSpec(
        data={"name": "folder", "path": str(path), "image_size": 16}, student="resnet8x4", method="none"
    )
    with pytest.raises(BadInput) as refused:
        preflight(spec, Workspace(tmp_path / "ws"))
    assert len(refused.value.problems) == 2


def test_signs_that_scripts_need_stay_in_class_names_and_control_characters_do_not(tmp_path: Path) -> None:
    joined = "می\N{ZERO WIDTH NON-JOINER}خواهم"
    path = as_folder(tmp_path / "mine", image_files({joined: 3, "a\nb": 3, "x\u3000y": 3}))
    assert load(path, tmp_path) == (r"a\nb", "x\u3000y", joined)
