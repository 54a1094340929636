"""The handlers of the Demo page, called without a browser: the chosen students, on the given image."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.board import Board
from app.pages.demo import many
from app.pages.demo.handlers import Handlers
from app.worker import Worker
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import short_id

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures("downloads")]


@pytest.fixture
def handlers(trained: Any, worker: Worker) -> Handlers:
    return Handlers(trained.board, worker)


@pytest.fixture
def image(tmp_path: Path) -> str:
    file = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (20, 30, 3), np.uint8)).save(file)
    return str(file)


def cards(html: str) -> list[tuple[str, str, str]]:
    """(role, model, run as it is called) of each card."""
    found = re.findall(r'data-role="(\w+)".*?<h2>(\S+) <small>\[?([^\]<]+)', html)
    return [(role, model, run) for role, model, run in found]


def test_the_address_names_the_students(handlers: Handlers, trained: Any) -> None:
    _, students, said, *_ = handlers.arrive({"run": f"{trained.taught},{trained.teacher}"})
    assert students["value"] == [trained.taught, trained.teacher] and said == ""
    assert [value for _, value in students["choices"]] == [trained.newest, trained.taught, trained.teacher]
    assert handlers.arrive({})[1]["value"] == [trained.newest]
    _, students, said, *_ = handlers.arrive({"run": f"nobody,{trained.teacher}"})
    assert students["value"] == [trained.teacher] and said.count('role="alert"') == 1 and "nobody" in said


def test_the_page_can_be_shown_alone(handlers: Handlers, trained: Any, image: str) -> None:
    heading, students, _, examples, share, only, many = handlers.arrive({"run": trained.taught, "only": ""})
    assert only and not students["visible"] and not many["visible"] and share == ""
    assert "gamma" in heading and "display: none" in heading and "kd-examples" in examples
    heading, students, _, _, share, only, many = handlers.arrive({"run": trained.taught})
    assert not only and students["visible"] and many["visible"] and "display: none" not in heading
    assert f'href="/demo?run={trained.taught}&only"' in share
    alone = handlers.classify([trained.taught], image, "", False, True)
    assert [role for role, *_ in cards(alone)] == ["student"], "without its teacher"


def test_examples_are_of_the_first_students_data_and_can_be_taken(handlers: Handlers, trained: Any) -> None:
    arrival, examples, share = handlers.choose([trained.taught, trained.teacher])
    assert arrival == "" and trained.taught in share and trained.teacher in share
    found = re.findall(r'data-number="(\d+)" aria-label="Classify this image of (\d)"', examples)
    assert len(found) == 12 and {label for _, label in found[:10]} == {str(digit) for digit in range(10)}
    for number, label in found[:3]:
        image, known = handlers.take_example([trained.taught], int(number))
        assert known == label and image.size == (16, 16)
    assert "Choose a student" in handlers.choose([])[1] and handlers.choose([])[2] == ""
    assert "No examples" in handlers.examples(["nobody"])


def test_a_student_and_its_teacher_classify_an_image(handlers: Handlers, trained: Any, image: str) -> None:
    shown = handlers.classify([trained.taught], image, "", False)
    assert cards(shown) == [
        ("student", "resnet20", short_id(trained.taught)),
        ("teacher", "resnet8x4", short_id(trained.teacher)),
    ]
    assert "kd-right" not in shown and "kd-wrong" not in shown, "nobody knows the class of this image"
    both = handlers.classify([trained.teacher, trained.taught], image, "7", True)
    assert [role for role, *_ in cards(both)] == ["student", "student"], "the teacher is among the students"
    assert re.search(r"\d\.\d+ ms \(\d+\.\d+ to \d+\.\d+, median of \d+ passes\)", shown), "latency with its spread"
    assert "its class is <b>7</b>" in both and both.count("kd-right") + both.count("kd-wrong") == 2
    assert both.count('class="kd-look"') == 2 and "kd-look" not in shown


def test_what_cannot_be_classified_is_said(handlers: Handlers, trained: Any, image: str, tmp_path: Path) -> None:
    assert "Choose an example" in handlers.classify([trained.taught], None, "", False)
    assert "Choose an example" in handlers.classify([], image, "", False), "there are runs to choose from"
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    assert handlers.classify([trained.taught], str(broken), "", False).count('role="alert"') == 1
    assert "launch a run" in Handlers(Board(Workspace(tmp_path / "empty")), handlers.worker).classify(
        [], None, "", False
    )


def test_a_sample_comes_from_the_test_set_with_its_class(handlers: Handlers, trained: Any) -> None:
    drawn = [handlers.draw_sample([trained.taught]) for _ in range(8)]
    assert {label for _, label in drawn} <= {str(digit) for digit in range(10)} and all(img.size for img, _ in drawn)
    assert len({img.tobytes() for img, _ in drawn}) > 1, "not always the same one"
    assert handlers.draw_sample([]) == (gr.skip(), gr.skip())


def test_many_images_make_a_table(worker: Worker, trained: Any, image: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(image, "inside.png")
        archive.writestr("broken.png", "no image")
    handlers = many.ManyImagesHandlers(worker)
    said, lines, *matrices, table = handlers.classify(
        [trained.teacher, trained.taught], [image, str(tmp_path / "more.zip")]
    )
    assert "3 images, 1 could not be read" in said and "inside.png" in lines and table["visible"]
    assert "more.zip/broken.png" in said and "demo-scores" not in said, "nobody knows the classes"
    assert not any(matrix["visible"] for matrix in matrices)
    rows = list(csv.reader(Path(table["value"]).read_text(encoding="utf-8").splitlines()))
    assert any("resnet8x4" in cell for cell in rows[0]) and any("resnet20" in cell for cell in rows[0])
    assert len(rows) == 4 and any("inside.png" in row[0] for row in rows)
    said, *_, table = handlers.classify([], [image])
    assert "Choose a student first" in said and not table["visible"]
    assert "Choose some images first" in handlers.classify([trained.taught], None)[0]


def test_a_zip_in_class_folders_is_scored(worker: Worker, trained: Any, tmp_path: Path) -> None:
    handlers = many.ManyImagesHandlers(worker)
    classes, right = [], 0
    with zipfile.ZipFile(tmp_path / "digits.zip", "w") as archive:
        for number in range(20):
            image, label = worker.call("test_image", trained.taught, number)
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            path = tmp_path / f"{number}.png"
            path.write_bytes(buffer.getvalue())
            (card,) = worker.call("classify", [trained.taught], str(path), False, True)
            right += card["top"][0][0] == label
            classes.append(label)
            archive.writestr(f"test/{label}/{number}.png", buffer.getvalue())
        archive.writestr("test/other/1.png", buffer.getvalue())
        archive.writestr("test/3/broken.png", "no image")
    assert 0 < right < 20, "a test of both"
    said, details, *matrices, table = handlers.classify([trained.taught], [str(tmp_path / "digits.zip")])
    assert f"<b>{5 * right:.1f} %</b>" in said and f"{right} of 20" in said
    assert (
        details.count("<figure") == 20 - right and "other: 1 image<" in said and "digits.zip/test/3/broken.png" in said
    )
    sure = [float(share) for share in re.findall(r'class="kd-wrong">✗ \d (\d+\.\d) %', details)]
    assert sure == sorted(sure, reverse=True), "the most confident mistake first"
    assert [matrix["visible"] for matrix in matrices] == [True, False, False, False]
    counts = matrices[0]["value"].data[0].customdata
    assert int(np.trace(counts)) == right and int(np.sum(counts)) == 20
    rows = list(csv.DictReader(Path(table["value"]).read_text(encoding="utf-8").splitlines()))
    assert [row["class folder"] for row in rows[:20]] == classes
