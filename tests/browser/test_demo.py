"""The Demo page: the chosen students classify the given image."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dashboard import Dashboard
from lived_in import LivedIn, zip_of_images
from PIL import Image
from playwright.sync_api import Page, expect

from kdengine.evaluation.classifier import Classifier, open_image
from kdengine.workspace.rundir import short_id

pytestmark = pytest.mark.browser


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    return tmp_path / "mine.png"


def predictions(page: Page, role: str) -> list[tuple[str, str]]:
    rows = page.locator(f".kd-prediction.{role} .row").all()
    return [tuple(span.inner_text() for span in row.locator("span[title], .p").all()) for row in rows]  # type: ignore[misc]


def test_an_older_run_classifies_an_uploaded_image(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, image: Path
) -> None:
    page.goto(f"{dashboard.url}/demo?run={lived_in.taught}")
    expect(page.locator("#demo-run .token")).to_contain_text(short_id(lived_in.taught))
    page.set_input_files("#demo-image input[type=file]", image)
    expect(page.locator(".kd-prediction.student")).to_be_visible()
    for role, run_id in (("student", lived_in.taught), ("teacher", lived_in.teacher)):
        wanted = Classifier(lived_in.workspace.run(run_id))(open_image(image)).top
        assert predictions(page, role) == [(name, f"{100 * share:.1f} %") for name, share in wanted]
    page.locator("#demo-looks input").check()
    expect(page.locator(".kd-prediction .kd-look svg")).to_have_count(2)
    page.click("#demo-sample")
    expect(page.locator("#demo-answers")).to_contain_text("From the test set")
    example = page.locator("#demo-examples button").nth(3)
    example.click()
    expect(example).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#demo-answers")).to_contain_text(f"its class is {example.inner_text().strip()}")


def test_the_page_is_shown_alone_with_one_network(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    page.goto(f"{dashboard.url}/demo?run={lived_in.own}")
    expect(page.locator("#demo-run .token")).to_contain_text(short_id(lived_in.own))
    address = page.locator("#demo-share").get_attribute("href")
    page.goto(f"{dashboard.url}{address}")
    expect(page.locator("#demo-heading")).to_contain_text("alpha")
    for hidden in ("#demo-run", "#demo-many", "#kd-frame"):
        expect(page.locator(hidden)).to_be_hidden()
    page.locator("#demo-examples button").nth(1).click()
    expect(page.locator(".kd-prediction")).to_have_count(1)
    assert page.locator("#demo-examples button span").first.inner_text() in ("猫", "狗", "鸟")


def test_a_zip_in_class_folders_is_scored(dashboard: Dashboard, lived_in: LivedIn, page: Page, tmp_path: Path) -> None:
    archive = zip_of_images(tmp_path / "mine.zip", ("猫", "鸟"), count=4)
    page.goto(f"{dashboard.url}/demo?run={lived_in.own}")
    expect(page.locator("#demo-run .token")).to_contain_text(short_id(lived_in.own))
    page.get_by_text("Many images").click()
    page.set_input_files("#demo-files input[type=file]", archive)
    expect(page.locator("#demo-files")).to_contain_text("mine")
    page.click("#demo-all")
    expect(page.locator("#demo-scores")).to_contain_text("of 8")
    expect(page.locator("#demo-confusion-0 .js-plotly-plot")).to_be_visible()


def test_a_file_that_is_no_image_gets_one_sentence(dashboard: Dashboard, page: Page, tmp_path: Path) -> None:
    fake = tmp_path / "holiday.png"
    fake.write_bytes(b"not an image at all")
    page.goto(f"{dashboard.url}/demo")
    expect(page.locator("#demo-run .token")).to_be_visible()
    page.set_input_files("#demo-image input[type=file]", fake)
    expect(page.locator("#demo-answers [role=alert]")).to_have_count(1)
    expect(page.locator("#demo-answers")).to_contain_text("holiday.png is not")


def test_many_images_become_a_table(dashboard: Dashboard, lived_in: LivedIn, page: Page, image: Path) -> None:
    archive = image.with_name("many.zip")
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(image, "a.png")
        packed.writestr("b.png", b"broken")
    page.goto(f"{dashboard.url}/demo?run={lived_in.own}")
    expect(page.locator("#demo-run .token")).to_contain_text(short_id(lived_in.own))
    page.get_by_text("Many images").click()
    page.click("#demo-all")
    expect(page.locator("#demo-told")).to_contain_text("some images first")
    page.set_input_files("#demo-files input[type=file]", archive)
    expect(page.locator("#demo-files")).to_contain_text("many")
    page.click("#demo-all")
    expect(page.locator("#demo-told")).to_contain_text("1 could not be read")
    with page.expect_download() as download:
        page.click("#demo-table")
    lines = list(csv.reader(io.StringIO(download.value.path().read_text())))
    best = Classifier(lived_in.workspace.run(lived_in.own))(open_image(image)).top[0][0]
    assert lines[1][0] == "many.zip/a.png" and best in lines[1] and best in ("猫", "狗", "鸟")


def test_students_of_an_address_stand_side_by_side_and_one_is_taken_away(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    page.goto(f"{dashboard.url}/demo?run=nobody,{lived_in.own},{lived_in.outside}")
    expect(page.locator("#demo-arrival")).to_contain_text("There is no run 'nobody'")
    expect(page.locator("#demo-run .token")).to_have_count(2)
    page.click("#demo-sample")
    expect(page.locator(".kd-prediction.student")).to_have_count(2)
    page.locator("#demo-run .token .token-remove").first.click()
    expect(page.locator("#demo-run .token")).to_have_count(1)
    expect(page.locator("#demo-run .token")).to_contain_text(f"[{short_id(lived_in.outside)}]")
    expect(page.locator("#demo-arrival")).to_have_text("")
    page.wait_for_url(f"**/demo?run={lived_in.outside}")
    expect(page.locator(".kd-prediction.student")).to_have_count(1)
