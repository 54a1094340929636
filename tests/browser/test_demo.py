"""The Demo page: the students that were asked for look at the image that was given."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dashboard import Dashboard
from lived_in import LivedIn
from PIL import Image
from playwright.sync_api import Page, expect

from kdengine.evaluation.classifier import Classifier, open_picture
from kdengine.rundir import short_id

pytestmark = pytest.mark.browser


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    return tmp_path / "mine.png"


def predictions(page: Page, role: str) -> list[tuple[str, str]]:
    rows = page.locator(f".kd-answer.{role} .row").all()
    return [tuple(span.inner_text() for span in row.locator("span[title], .p").all()) for row in rows]  # type: ignore[misc]


def test_an_older_run_classifies_an_uploaded_image(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, image: Path
) -> None:
    page.goto(f"{dashboard.url}/demo?run={lived_in.taught}")
    expect(page.locator("#demo-run .token")).to_contain_text(short_id(lived_in.taught))
    page.set_input_files("#demo-picture input[type=file]", image)
    expect(page.locator(".kd-answer.student")).to_be_visible()
    for role, run_id in (("student", lived_in.taught), ("teacher", lived_in.teacher)):
        wanted = Classifier(lived_in.workspace.run(run_id))(open_picture(image)).top
        assert predictions(page, role) == [(name, f"{100 * share:.1f} %") for name, share in wanted]
    page.locator("#demo-looks input").check()
    expect(page.locator(".kd-answer .kd-look svg")).to_have_count(2)
    page.click("#demo-sample")
    expect(page.locator("#demo-answers")).to_contain_text("From the test set")


def test_a_file_that_is_no_image_gets_one_sentence(dashboard: Dashboard, page: Page, tmp_path: Path) -> None:
    fake = tmp_path / "holiday.png"
    fake.write_bytes(b"not an image at all")
    page.goto(f"{dashboard.url}/demo")
    expect(page.locator("#demo-run .token")).to_be_visible()
    page.set_input_files("#demo-picture input[type=file]", fake)
    expect(page.locator("#demo-answers [role=alert]")).to_have_count(1)
    expect(page.locator("#demo-answers")).to_contain_text("holiday.png is not")


def test_many_images_become_a_table(dashboard: Dashboard, lived_in: LivedIn, page: Page, image: Path) -> None:
    archive = image.with_name("many.zip")
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(image, "a.png")
        packed.writestr("b.png", b"broken")
    page.goto(f"{dashboard.url}/demo?run={lived_in.own}")
    expect(page.locator("#demo-run .token")).to_contain_text(short_id(lived_in.own))
    page.get_by_text("Many pictures").click()
    page.click("#demo-all")
    expect(page.locator("#demo-told")).to_contain_text("some pictures first")
    page.set_input_files("#demo-files input[type=file]", archive)
    expect(page.locator("#demo-files")).to_contain_text("many")
    page.click("#demo-all")
    expect(page.locator("#demo-told")).to_contain_text("1 could not be read")
    with page.expect_download() as download:
        page.click("#demo-table")
    lines = list(csv.reader(io.StringIO(download.value.path().read_text())))
    best = Classifier(lived_in.workspace.run(lived_in.own))(open_picture(image)).top[0][0]
    assert lines[1][0] == "many.zip/a.png" and best in lines[1] and best in ("猫", "狗", "鸟")


def test_students_of_an_address_stand_side_by_side_and_one_is_taken_away(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    page.goto(f"{dashboard.url}/demo?run=nobody,{lived_in.own},{lived_in.outside}")
    expect(page.locator("#demo-arrival")).to_contain_text("There is no run 'nobody'")
    expect(page.locator("#demo-run .token")).to_have_count(2)
    page.click("#demo-sample")
    expect(page.locator(".kd-answer.student")).to_have_count(2)
    page.locator("#demo-run .token .token-remove").first.click()
    expect(page.locator("#demo-run .token")).to_have_count(1)
    expect(page.locator("#demo-run .token")).to_contain_text(f"[{short_id(lived_in.outside)}]")
    expect(page.locator("#demo-arrival")).to_have_text("")
    expect(page.locator(".kd-answer.student")).to_have_count(1)
