"""Many images at once: zips, files that are none, and a table that a spreadsheet can open safely."""

from __future__ import annotations

import csv
import io
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import NORM, TinyNet

from kdengine.errors import BadInput
from kdengine.evaluation.classifier import Classifier, Prediction
from kdengine.evaluation.latency import AT_MOST, FEWEST, WARM_UP, latency_of
from kdengine.evaluation.many import classify_many, write_table
from kdengine.evaluation.scoring import Score
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


def test_a_zip_becomes_a_line_for_each_image(student: Classifier, tmp_path: Path) -> None:
    archive = zipped(
        tmp_path / "photos.zip",
        {"one.png": png(1), "deep/two.PNG": png(2), "notes.txt": b"none", "__MACOSX/one.png": b"x", "bad.jpg": b"no"},
    )
    single = tmp_path / "three.tif"
    single.write_bytes(png(3, "CMYK"))
    lines = list(classify_many({"tiny": student}, [("photos.zip", archive), ("three.tif", single)]))
    by_name = {line.file: line for line in lines}
    assert set(by_name) == {"photos.zip/one.png", "photos.zip/deep/two.PNG", "photos.zip/bad.jpg", "three.tif"}
    assert "is not an image" in by_name["photos.zip/bad.jpg"].problem and not by_name["photos.zip/bad.jpg"].predictions
    (tmp_path / "one.png").write_bytes(png(1))
    alone = next(iter(classify_many({"tiny": student}, [("one.png", tmp_path / "one.png")])))
    assert by_name["photos.zip/one.png"].predictions["tiny"].top == alone.predictions["tiny"].top


def test_the_table_is_csv_without_formulas(student: Classifier, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(b"broken")
    sources = [("=cmd|' /C calc'!A0.png", tmp_path / "a.png"), ("b.png", tmp_path / "b.png")]
    file = io.StringIO()
    assert write_table(file, ["tiny"], classify_many({"tiny": student}, sources)) == 2
    head, first, second = csv.reader(io.StringIO(file.getvalue()))
    assert head == ["file", "tiny class", "tiny probability", "problem"]
    assert first[0].startswith("'=") and not first[1].startswith("=") and 0 < float(first[2]) <= 1 and not first[3]
    assert second[1:3] == ["", ""] and "b.png is not an image" in second[3]


def test_a_zip_in_class_folders_says_the_folder_of_each_image(student: Classifier, tmp_path: Path) -> None:
    members = {"data/b/one.png": png(1), "data/strange/two.png": png(2), "three.png": png(3), "data/c/bad.png": b"no"}
    scored, other = (
        zipped(tmp_path / "scored.zip", members),
        zipped(tmp_path / "other.zip", {"mine/one.png": png(1), "b.png": png(2)}),
    )
    lines = {line.file: line for line in classify_many({"tiny": student}, [("s.zip", scored), ("o.zip", other)])}
    folders = {file: line.folder for file, line in lines.items()}
    assert folders == {
        "s.zip/data/b/one.png": "b", "s.zip/data/strange/two.png": "strange", "s.zip/three.png": "",
        "s.zip/data/c/bad.png": "c", "o.zip/mine/one.png": "", "o.zip/b.png": "",
    }, "no folder of the other is a class, so nobody knows the classes of its images"  # fmt: skip
    assert lines["s.zip/data/c/bad.png"].problem and lines["s.zip/data/b/one.png"].image is not None
    file = io.StringIO()
    write_table(file, ["tiny"], iter(lines.values()), with_folders=True)
    head, first, *_ = csv.reader(io.StringIO(file.getvalue()))
    assert head[:2] == ["file", "class folder"] and first[1] == "b"


def test_accents_that_are_stored_apart_name_the_same_class(tmp_path: Path) -> None:
    network = Classifier((TinyNet().eval(), ModelCard("tiny", {}, ("Caf\u00e9", "b", "c", "d", "e"), 16, *NORM)))
    archive = zipped(tmp_path / "mac.zip", {"Cafe\u0301/one.png": png(1)})
    (line,) = classify_many({"tiny": network}, [("mac.zip", archive)])
    score = Score(network.card.classes)
    assert line.image is not None and score.add(line.file, line.folder, line.predictions["tiny"], line.image)
    assert score.counts[0].sum() == 1


def test_a_score_counts_and_keeps_the_most_confident_mistakes() -> None:
    score = Score(("a", "b", "c"))
    blank = Image.new("RGB", (8, 8))
    for number in range(30):
        top = (("b", 0.3 + 0.02 * number), ("a", 0.1))
        assert score.add(f"{number}.png", "a", Prediction(top, 1.0), blank)
    assert score.add("right.png", "c", Prediction((("c", 0.99),), 1.0), blank)
    assert not score.add("none.png", "d", Prediction((("c", 0.99),), 1.0), blank), "the network has no such class"
    assert (score.images, score.right) == (31, 1)
    assert score.counts.tolist() == [[0, 30, 0], [0, 0, 0], [0, 0, 1]]
    assert [one.file for one in score.mistakes] == [f"{number}.png" for number in range(29, 5, -1)]
    assert score.mistakes[0].pixels.shape == (96, 96, 3) and score.mistakes[0].predicted == "b"


def test_a_damaged_archive_is_named_and_the_others_count(student: Classifier, tmp_path: Path) -> None:
    unsafe = zipped(tmp_path / "unsafe.zip", {"../out.png": png()})
    fine = zipped(tmp_path / "fine.zip", {"in.png": png()})
    lines = list(classify_many({"tiny": student}, [("unsafe.zip", unsafe), ("fine.zip", fine)]))
    assert [line.file for line in lines] == ["unsafe.zip", "fine.zip/in.png"]
    assert "unsafe.zip" in lines[0].problem and lines[1].predictions


def test_latency_is_a_median_of_passes_that_were_warmed_up() -> None:
    calls: list[float] = []

    def call() -> None:
        calls.append(time.perf_counter())
        time.sleep(0.05 if len(calls) <= WARM_UP else 0.002 * (1 + len(calls) % 2))

    found = latency_of(call)
    assert len(calls) == WARM_UP + found.passes and FEWEST <= found.passes <= AT_MOST
    assert 2 <= found.low <= found.median <= found.high
    assert found.low < 50, "what warms up is not counted"


def test_nothing_to_classify_is_said_before_anything_is(student: Classifier, tmp_path: Path) -> None:
    empty = zipped(tmp_path / "empty.zip", {"readme.md": b"nothing"})
    with pytest.raises(BadInput, match="found no image"):
        classify_many({"tiny": student}, [("empty.zip", empty)])
    unsafe = zipped(tmp_path / "unsafe.zip", {"../out.png": png()})
    with pytest.raises(BadInput, match=r"unsafe\.zip"):
        classify_many({"tiny": student}, [("unsafe.zip", unsafe)])
    many = zipped(tmp_path / "many.zip", {f"{number}.png": b"" for number in range(10_001)})
    with pytest.raises(BadInput, match="found 10,001 images; at most 10,000"):
        classify_many({"tiny": student}, [("many.zip", many)])
