"""The Inspect page in a real browser: what it draws is what was stored, for each of the five methods of the papers."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from dashboard import Dashboard
from PIL import Image
from playwright.sync_api import Download, Locator, Page, expect
from support import tiny_spec

from kdengine import run
from kdengine.figures.images import coloured
from kdengine.figures.inspection import draw
from kdengine.figures.map_panels import stages_of
from kdengine.figures.sample_graphs import places
from kdengine.figures.seen import Drawing, Wishes
from kdengine.inspection import recordings as store
from kdengine.inspection.looking import look, offered
from kdengine.inspection.panels import PANELS, panel
from kdengine.jobs import ensure_supervisor
from kdengine.workspace.rundir import RunDirectory

pytestmark = pytest.mark.browser

METHODS = {
    "dcad": {"teacher": "run:cip", "student": "resnet8"},
    "light_self": {"student": "resnet8"},
    "grkd": {"teacher": "run:cip", "student": "resnet8"},
    "fusion_self": {"student": "resnet8"},
    "ama_self": {"student": "resnet8"},
}
PLOTTED = """() => {
  const plain = (value) => value?._inputArray ? plain(value._inputArray)
    : ArrayBuffer.isView(value) || Array.isArray(value) ? Array.from(value, plain) : value;
  return Array.from(document.querySelectorAll('#inspect-drawings .js-plotly-plot'))
    .filter((plot) => plot.offsetParent)
    .map((plot) => plot.data.map((trace) => ({x: plain(trace.x), y: plain(trace.y), z: plain(trace.z)})));
}"""

SHOWN = "Array.from(document.querySelectorAll('#inspect-grids img.kd-map'), (map) => map.getAttribute('src'))"


@pytest.fixture(scope="module")
def runs(dashboard: Dashboard) -> dict[str, RunDirectory]:
    """A run of each method, looked at while it trained, and the importance-pooling teacher of two of them."""
    workspace = dashboard.workspace
    inspected = {"runtime": {"inspect": 2}}
    run(tiny_spec(student="resnet8x4_cip"), run_id="cip", workspace=workspace)
    for method, networks in METHODS.items():
        asked = {key: {"run": "cip"} if value == "run:cip" else value for key, value in networks.items()}
        run(tiny_spec(method=method, **asked, **inspected), run_id=f"inspected-{method}", workspace=workspace)
    ensure_supervisor(workspace)
    return {method: workspace.run(f"inspected-{method}") for method in METHODS}


def open_run(page: Page, dashboard: Dashboard, folder: RunDirectory, **words: str) -> None:
    """Goes to a run; waits until the page knows of it."""
    address = f"{dashboard.url}/inspect?run={folder.id}" + "".join(f"&{key}={value}" for key, value in words.items())
    for _ in range(60):
        page.goto(address)
        expect(page.locator("#inspect-run input")).not_to_have_value("")
        if f"[{folder.id[-4:]}]" in page.locator("#inspect-run input").input_value():
            break
        page.wait_for_timeout(1000)
    expect(page.locator("#inspect-sentence")).to_be_visible()


def choose(page: Page, what: str) -> None:
    page.locator("#inspect-group label").filter(has_text=panel(what).group).click()
    page.locator("#inspect-what").get_by_text(panel(what).title, exact=True).click()
    expect(page.locator("#inspect-sentence")).to_contain_text(panel(what).sentence)


def maps(grid: Locator) -> list[np.ndarray]:
    """The pixels of the maps that a grid draws."""
    found = [image.get_attribute("src") or "" for image in grid.locator("img.kd-map").all()]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in found]


def assert_plots(page: Page, drawings: list[Drawing]) -> None:
    """Every Plotly figure on the page has the numbers that it should have."""
    wanted = [
        [{key: trace.to_plotly_json().get(key) for key in ("x", "y", "z")} for trace in drawing.figure.data]
        for drawing in drawings
        if drawing.figure is not None
    ]
    page.wait_for_function(f"() => ({PLOTTED})().length === {len(wanted)}")
    for found, figure in zip(page.evaluate(PLOTTED), wanted, strict=True):
        assert len(found) == len(figure)
        for trace, asked in zip(found, figure, strict=True):
            for key in ("x", "y", "z"):
                assert_alike(trace.get(key), asked[key])


def assert_alike(found: Any, asked: Any) -> None:
    if asked is None:
        assert found is None
        return
    values = np.asarray(asked)
    if values.dtype == object or values.dtype.kind in "US":
        assert json.loads(json.dumps(found)) == json.loads(json.dumps(list(asked)))
    else:
        assert np.asarray(found, float) == pytest.approx(values.astype(float), rel=1e-5, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("method", METHODS)
def test_every_panel_opens_and_draws_what_was_stored(
    method: str, dashboard: Dashboard, runs: dict[str, RunDirectory], page: Page
) -> None:
    """Each panel at the first method that has it; what a method alone has is seen at that one."""
    first = {one.name: each for each in reversed(METHODS) for one in offered(dashboard.workspace, runs[each])}
    assert_panels(page, dashboard, runs[method], lambda name: first[name] == method)


@pytest.mark.long
def test_every_panel_of_a_run_on_real_images(dashboard: Dashboard, page: Page) -> None:
    place = os.environ.get("KD_TEST_IMAGES", "")
    assert place, "KD_TEST_IMAGES names a folder with train/<class>/*.jpg and test/<class>/*.jpg, such as CIFAR-10"
    data = {"name": "folder", "path": place, "image_size": 32, "augmentation": "crop_flip", "per_class": 30}
    workspace = dashboard.workspace
    run(tiny_spec(data=data, student="resnet20_cip"), run_id="photos-cip", workspace=workspace)
    taught = {"method": "dcad", "teacher": {"run": "photos-cip"}, "runtime": {"inspect": 2}}
    run(tiny_spec(data=data, **taught), run_id="photos", workspace=workspace)
    ensure_supervisor(workspace)
    assert_panels(page, dashboard, workspace.run("photos"))


def assert_panels(
    page: Page, dashboard: Dashboard, folder: RunDirectory, asked: Callable[[str], bool] = lambda name: True
) -> None:
    """The panels that a run has are offered; each that is asked for opens, and shows what is stored."""
    workspace = dashboard.workspace
    open_run(page, dashboard, folder)
    names = [one.name for one in offered(workspace, folder)]
    groups = [text.strip().lower() for text in page.locator("#inspect-group label").all_inner_texts()]
    assert groups == list(dict.fromkeys(panel(name).group for name in names))
    last = store.epochs(folder)[-1]
    for name in filter(asked, names):
        choose(page, name)
        one = panel(name)
        beside = [panel(other).title for other in names if panel(other).group == one.group]
        expect(page.locator("#inspect-what label")).to_have_text(beside)
        if not one.images and name != "gradients":
            expect(page.locator("#inspect-drawings .kd-drawing").first).to_be_visible()
            continue
        seen = look(workspace, folder, name, last)
        wishes = Wishes(for_page=True, places=laid_out(folder, last) if name == "graph" else None)
        drawings = draw(one.kind, [seen.first(16) if one.kind in ("maps", "tiles") else seen], wishes)
        if one.kind == "maps":
            wanted = re.findall(r'class="kd-map" src="([^"]+)"', drawings[0].html)
            page.wait_for_function(f"(urls) => JSON.stringify({SHOWN}) === JSON.stringify(urls)", arg=wanted)
        if name == "attention":
            stored = store.read(folder, last, name)["student_1"][0]
            first = maps(page.locator(".kd-tiles"))[0]
            assert np.array_equal(first, coloured(stored, float(stored.min()), float(stored.max())))
        assert_plots(page, drawings)


def laid_out(folder: RunDirectory, last: int) -> np.ndarray:
    graphs = store.read(folder, last, "graph")
    return places(graphs.get("embedding_teacher", graphs["embedding_student"]))


def test_the_slider_moves_what_is_drawn(dashboard: Dashboard, runs: dict[str, RunDirectory], page: Page) -> None:
    folder = runs["dcad"]
    open_run(page, dashboard, folder, what="attention")
    grid, slider = page.locator(".kd-tiles"), page.locator("#inspect-epoch input[type=range]")
    expect(slider).to_have_value("2")
    for epoch, key in ((1, "ArrowLeft"), (0, "ArrowLeft"), (1, "ArrowRight")):
        slider.focus()
        page.keyboard.press(key)
        values = store.read(folder, epoch, "attention")["student_1"][0]
        wanted = coloured(values, float(values.min()), float(values.max()))
        expect(page.locator("#inspect-epoch input[type=range]")).to_have_value(str(epoch))
        page.wait_for_function(
            "(url) => document.querySelector('img.kd-map')?.getAttribute('src') === url", arg=as_url(wanted)
        )
        assert np.array_equal(maps(grid)[0], wanted)
    query = parse_qs(urlparse(page.url).query)
    assert query["run"] == [folder.id] and query["what"] == ["attention"] and query["epoch"] == ["1"]

    # What is saved has its head above the images, wherever the page is scrolled to.
    with page.expect_download() as download:
        page.click("#inspect-svg")
    heights = [
        (word, float(y))
        for y, word in re.findall(r'<text x="[^"]+" y="([^"]+)"[^>]*>([^<]+)<', read_text(download.value))
    ]
    assert [word for word, _ in sorted(heights, key=lambda one: one[1])].index("image") < 12, "among the head's words"

    # Play goes through the epochs by itself.
    page.click("#inspect-play")
    expect(page.locator("#inspect-play")).to_have_text("Pause")
    expect(slider).to_have_value("0")
    page.click("#inspect-play")
    expect(page.locator("#inspect-play")).to_have_text("Play")

    # The maps fade over the images without asking the server.
    page.locator("#inspect-fade input[type=range]").focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => getComputedStyle(document.querySelector('img.kd-map')).opacity === '0'")

    # So does the size of the tiles.
    page.locator("#inspect-size").get_by_text("S", exact=True).click()
    page.wait_for_function("() => document.querySelector('.kd-image').getBoundingClientRect().width <= 64")


def read_text(download: Download) -> str:
    return Path(download.path()).read_text()


def as_url(pixels: np.ndarray) -> str:
    from kdengine.figures.images import data_url

    return data_url(pixels)


def test_two_runs_side_by_side_and_their_difference(
    dashboard: Dashboard, runs: dict[str, RunDirectory], page: Page
) -> None:
    first, second = runs["dcad"], runs["grkd"]
    open_run(page, dashboard, first, what="attention", **{"with": second.id})
    expect(page.locator(".kd-tiles")).to_have_count(2)
    ours, theirs = (store.read(folder, 2, "attention")["student_1"][0] for folder in (first, second))
    low, high = min(ours.min(), theirs.min()), max(ours.max(), theirs.max())
    for grid, values in zip(page.locator(".kd-tiles").all(), (ours, theirs), strict=True):
        assert np.array_equal(maps(grid)[0], coloured(values, float(low), float(high)))
    page.locator("#inspect-scale label").filter(has_text="own").click()
    own = as_url(coloured(theirs, float(theirs.min()), float(theirs.max())))
    page.wait_for_function(
        "(url) => document.querySelectorAll('.kd-tiles')[1].querySelector('img.kd-map').getAttribute('src') === url",
        arg=own,
    )
    lefts = [grid.bounding_box() for grid in page.locator(".kd-tile-row[data-image='3']").all()]
    assert lefts[0] and lefts[1] and abs(lefts[0]["y"] - lefts[1]["y"]) < 2, "the same image at the same height"
    assert_enlarged(page, ours, theirs)
    page.locator("#inspect-arrangement label").filter(has_text="difference").click()
    expect(page.locator(".kd-tiles")).to_have_count(1)
    expect(page.locator("#inspect-grids")).to_contain_text("Red = more in the first run")
    choose(page, "graph")
    expect(page.locator("#inspect-drawings .js-plotly-plot:visible")).to_have_count(9)


def assert_enlarged(page: Page, ours: np.ndarray, theirs: np.ndarray) -> None:
    """A tile opens by a key, shows both runs and the values under the pointer, steps to the next image, and closes."""
    large = page.locator("#kd-enlarged")
    page.locator(".kd-tiles").first.locator(".kd-tile[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(large.locator(".kd-large")).to_have_count(2)
    box = large.locator(".kd-large").nth(1).bounding_box()
    assert box
    row, column = 1, 2
    page.mouse.move(
        box["x"] + (column + 0.5) * box["width"] / ours.shape[1], box["y"] + (row + 0.5) * box["height"] / ours.shape[0]
    )
    expect(large.locator(".kd-readout")).to_contain_text(f"row {row + 1}, column {column + 1}:")
    words = large.locator(".kd-readout").inner_text()
    shown = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", words.partition(":")[2])]
    wanted = [float(ours[row, column]), float(theirs[row, column])]
    assert shown == pytest.approx([*wanted, wanted[0] - wanted[1]], abs=1e-3 * float(max(ours.max(), theirs.max())))
    before = large.locator("h2").inner_text()
    page.keyboard.press("ArrowRight")
    expect(large.locator("h2")).not_to_have_text(before)
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(page.locator(".kd-tile:focus")).to_have_attribute("data-image", "1")


def test_the_presenter_steps_through_images_and_epochs(
    dashboard: Dashboard, runs: dict[str, RunDirectory], page: Page
) -> None:
    open_run(page, dashboard, runs["dcad"], what="attention")
    page.click("#inspect-present")
    expect(page.locator(".kd-tile-row:visible")).to_have_count(1)
    expect(page.locator("#inspect-toolbar")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".kd-tile-row:visible")).to_have_attribute("data-image", "1")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#inspect-epoch input[type=range]")).to_have_value("1")
    page.wait_for_url("**epoch=1*")
    expect(page.locator(".kd-tile-row:visible")).to_have_attribute("data-image", "1")
    page.keyboard.press("Space")
    expect(page.locator("#inspect-play")).to_have_text("Pause")
    page.keyboard.press("Space")
    expect(page.locator("#inspect-play")).to_have_text("Play")
    page.keyboard.press("Escape")
    expect(page.locator(".kd-tile-row:visible")).to_have_count(16)


def test_a_photograph_is_looked_at_and_taken_away(
    dashboard: Dashboard, runs: dict[str, RunDirectory], page: Page, tmp_path: Path
) -> None:
    folder = runs["dcad"]
    photo, fake = tmp_path / "photo.jpg", tmp_path / "fake.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(photo)
    fake.write_bytes(b"nothing")
    open_run(page, dashboard, folder, what="gradcam")
    page.locator("#inspect-source label").filter(has_text="mine").click()
    page.set_input_files("#inspect-files input[type=file]", photo)
    expect(page.locator("#inspect-sentence")).to_contain_text("the class that the network chose")
    expect(page.locator("#inspect-grids")).to_contain_text("image 1")
    page.wait_for_function("() => document.querySelectorAll('img.kd-map').length === 2")
    with page.expect_download() as download:
        page.click("#inspect-npz")
    with np.load(download.value.path()) as arrays:
        drawn = arrays["student"][0]
        assert np.array_equal(
            maps(page.locator(".kd-tiles"))[0], coloured(drawn, float(drawn.min()), float(drawn.max()))
        )
    for kind, start in (("svg", b"<svg"), ("png", b"\x89PNG"), ("html", b"<!doctype html>")):
        with page.expect_download() as download:
            page.click(f"#inspect-{kind}")
        content = download.value.path().read_bytes()
        assert content.startswith(start)
        if kind == "svg":
            assert content.count(b"<image") >= 4 and b"image 1" in content, "image, map and what is said"
    page.locator(
        "#inspect-files button[aria-label='Clear'], #inspect-files button[aria-label='Remove this file']"
    ).first.click()
    page.set_input_files("#inspect-files input[type=file]", fake)
    expect(page.locator("#inspect-message")).to_contain_text("fake.png is not an image")


def test_the_demo_shows_several_students_and_where_they_look(
    dashboard: Dashboard, runs: dict[str, RunDirectory], page: Page, tmp_path: Path
) -> None:
    import zipfile

    chosen = ",".join(runs[method].id for method in ("dcad", "light_self"))
    page.goto(f"{dashboard.url}/demo?run={chosen}")
    expect(page.locator("#demo-run .token")).to_have_count(2)
    page.click("#demo-sample")
    expect(page.locator(".kd-prediction.student")).to_have_count(2)
    expect(page.locator(".kd-prediction.teacher")).to_have_count(1)
    page.locator("#demo-looks input").check()
    expect(page.locator(".kd-prediction .kd-look svg")).to_have_count(3)

    pixels = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("a.png", buffer.getvalue())
        written.writestr("b.png", b"broken")
    page.get_by_text("Many images").click()
    page.set_input_files("#demo-files input[type=file]", archive)
    page.click("#demo-all")
    expect(page.locator("#demo-told")).to_contain_text("2 images, 1 could not be read")
    with page.expect_download() as download:
        page.click("#demo-table")
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 3 and lines[1].startswith("photos.zip/a.png,") and "is not an image" in lines[2]


def test_every_panel_has_a_sentence() -> None:
    assert all(one.sentence.endswith((".", ")")) and len(one.sentence) < 130 for one in PANELS.values())


def pick_run(page: Page, element: str, folder: RunDirectory) -> None:
    page.click(f"#{element} input")
    page.get_by_role("option").filter(has_text=f"[{folder.id[-4:]}]").first.click()


def asked(page: Page, key: str) -> str:
    return parse_qs(urlparse(page.url).query).get(key, [""])[0]


def test_every_other_control_does_what_it_says(dashboard: Dashboard, runs: dict[str, RunDirectory], page: Page) -> None:
    first, second = runs["grkd"], runs["dcad"]
    page.goto(f"{dashboard.url}/inspect")
    expect(page.locator("#inspect-sentence")).to_be_visible()
    pick_run(page, "inspect-run", first)
    page.wait_for_url(f"**/inspect?run={first.id}*")
    pick_run(page, "inspect-other", second)
    page.wait_for_url(f"**with={second.id}*")
    choose(page, "attention")
    expect(page.locator(".kd-tiles")).to_have_count(2)
    left, right = (page.locator(".kd-pair .kd-drawing").nth(n).bounding_box() for n in (0, 1))
    assert left and right and abs(left["y"] - right["y"]) < 2 and right["x"] > left["x"], "side by side"
    page.click("#inspect-other input")
    page.get_by_role("option", name="none", exact=True).click()
    expect(page.locator(".kd-tiles")).to_have_count(1)

    choose(page, "graph")
    expect(page.locator("#inspect-drawings .js-plotly-plot:visible").first).to_be_visible()
    before = page.evaluate(PLOTTED)
    labels = page.locator("#inspect-graph label")
    labels.filter(has_text="of the embedding").click()
    page.wait_for_function(f"before => JSON.stringify(({PLOTTED})()) !== JSON.stringify(before)", arg=before)
    before = page.evaluate(PLOTTED)
    page.locator("#inspect-threshold input[type=range]").focus()
    page.keyboard.press("End")
    page.wait_for_function(f"before => JSON.stringify(({PLOTTED})()) !== JSON.stringify(before)", arg=before)

    choose(page, "attention")
    page.locator("#inspect-best input").check()
    page.wait_for_url("**epoch=best*")
    page.locator("#inspect-source label").filter(has_text="by class").click()
    page.click("#inspect-classes input")
    page.get_by_role("option", name="3", exact=True).click()
    page.keyboard.press("Escape")
    rows = ".kd-tile-row .kd-said b"
    page.wait_for_function(f"() => [...document.querySelectorAll('{rows}')].every(label => label.textContent === '3')")
    slider = page.locator("#inspect-count input[type=range]").bounding_box()
    assert slider
    page.mouse.click(slider["x"] + 2, slider["y"] + slider["height"] / 2)
    page.wait_for_function(f"() => document.querySelectorAll('{rows}').length < 5")


def test_a_stage_is_chosen_where_there_are_too_many_maps(
    dashboard: Dashboard, runs: dict[str, RunDirectory], page: Page
) -> None:
    def staged(folder: RunDirectory, name: str) -> list[int]:
        last = store.epochs(folder)[-1]
        return stages_of(store.read(folder, last, name))

    folder, name = next(
        (folder, name)
        for folder in runs.values()
        for name in store.recorded_panels(folder)
        if panel(name).kind == "maps" and staged(folder, name)
    )
    open_run(page, dashboard, folder, what=name)
    before = page.evaluate(f"() => {SHOWN}")
    page.locator("#inspect-stage").get_by_text(str(staged(folder, name)[0]), exact=True).click()
    page.wait_for_function(f"before => JSON.stringify({SHOWN}) !== JSON.stringify(before)", arg=before)
