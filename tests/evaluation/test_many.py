"""Many pictures at once: zips, files that are none, and a table that a spreadsheet can open safely."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import NORM, TinyNet

from kdengine.errors import BadInput
from kdengine.evaluation.classifier import Classifier
from kdengine.evaluation.many import classify_many, write_table
from kdengine.models.stored import ModelCard

CLASSES = ("=SUM(1)", "b", "c", "d", "e")


@pytest.fixture
def student() -> Classifier:
    return Classifier((TinyNet().eval(), ModelCard("tiny", {}, CLASSES, 16, *NORM)))


def png(seed: int = 0, mode: str = "RGB", size: tuple[int, int] = (20, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    return buffer.getvalue()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_becomes_a_line_for_each_picture(student: Classifier, tmp_path: Path) -> None:
    archive = zipped(
        tmp_path / "photos.zip",
        {"one.png": png(1), "deep/two.PNG": png(2), "notes.txt": b"none", "__MACOSX/one.png": b"x", "bad.jpg": b"no"},
    )
    single = tmp_path / "three.tif"
    single.write_bytes(png(3, "CMYK"))
    lines = list(classify_many({"tiny": student}, [("photos.zip", archive), ("three.tif", single)]))
    by_name = {line.file: line for line in lines}
    assert set(by_name) == {"photos.zip/one.png", "photos.zip/deep/two.PNG", "photos.zip/bad.jpg", "three.tif"}
    assert "is not a picture" in by_name["photos.zip/bad.jpg"].problem and not by_name["photos.zip/bad.jpg"].answers
    (tmp_path / "one.png").write_bytes(png(1))
    alone = next(iter(classify_many({"tiny": student}, [("one.png", tmp_path / "one.png")])))
    assert by_name["photos.zip/one.png"].answers["tiny"].top == alone.answers["tiny"].top


def test_the_table_is_csv_without_formulas(student: Classifier, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(b"broken")
    sources = [("=cmd|' /C calc'!A0.png", tmp_path / "a.png"), ("b.png", tmp_path / "b.png")]
    file = io.StringIO()
    assert write_table(file, ["tiny"], classify_many({"tiny": student}, sources)) == 2
    head, first, second = csv.reader(io.StringIO(file.getvalue()))
    assert head == ["file", "tiny class", "tiny probability", "problem"]
    assert first[0].startswith("'=") and not first[1].startswith("=") and 0 < float(first[2]) <= 1 and not first[3]
    assert second[1:3] == ["", ""] and "b.png is not a picture" in second[3]


def test_nothing_to_classify_is_said_before_anything_is(student: Classifier, tmp_path: Path) -> None:
    empty = zipped(tmp_path / "empty.zip", {"readme.md": b"nothing"})
    with pytest.raises(BadInput, match="found no picture"):
        classify_many({"tiny": student}, [("empty.zip", empty)])
    unsafe = zipped(tmp_path / "unsafe.zip", {"../out.png": png()})
    with pytest.raises(BadInput, match=r"unsafe\.zip"):
        classify_many({"tiny": student}, [("unsafe.zip", unsafe)])
    many = zipped(tmp_path / "many.zip", {f"{number}.png": b"" for number in range(10_001)})
    with pytest.raises(BadInput, match="found 10,001 pictures; at most 10,000"):
        classify_many({"tiny": student}, [("many.zip", many)])
