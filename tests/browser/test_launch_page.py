"""Launching by clicks: the experiment that was put together is what runs, on the data that were uploaded."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from clicks import (
    commanded,
    commanded_value,
    fill,
    id_in_address,
    open_launch,
    pick,
    shown_command,
    type_choice,
    wait_for,
)
from dashboard import Dashboard
from lived_in import LivedIn, zip_of_images
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from kdengine.forecast import compiling as compiling_times
from kdengine.jobs import JobStore
from kdengine.spec import ExperimentSpec
from kdengine.training.hardware import default_threads
from kdengine.tuning.cache import open_times

pytestmark = pytest.mark.browser

DIGITS = "Digits"


def launched_spec(dashboard: Dashboard, run_id: str) -> ExperimentSpec:
    return ExperimentSpec.from_yaml(dashboard.workspace.run(run_id).spec_file.read_text())


def own_files(dashboard: Dashboard) -> set[str]:
    return {path.name for path in (dashboard.workspace.datasets / "own").iterdir() if path.name != ".lock"}


def corner(image: Locator) -> tuple[int, ...]:
    """The first pixel of an image whose address holds it."""
    _, _, content = (image.get_attribute("src") or "").partition(",")
    return tuple(np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))[0, 0].tolist())


def upload(page: Page, path: Path) -> None:
    page.get_by_role("button", name="My images").click()
    page.set_input_files("#upload-data input[type=file]", path)


def test_own_images_are_uploaded_and_two_seeds_launched(
    dashboard: Dashboard, page: Page, tmp_path: Path, used: Callable[[str], None]
) -> None:
    archive = zip_of_images(tmp_path / "我的 图片.zip", ("苹果", "梨", "桃", "李"), count=20)
    store, before = JobStore(dashboard.workspace), own_files(dashboard)
    open_launch(page, dashboard.url)
    upload(page, archive)
    expect(page.locator("#upload-outcome")).to_contain_text("is stored")
    (kept,) = own_files(dashboard) - before
    assert kept.startswith("我的") and kept.endswith(".zip")
    expect(page.locator("#field-data input")).to_have_value(f"my images: {kept}")
    expect(page.locator("#data-facts")).to_contain_text("4 classes")
    expect(page.locator("#data-facts")).to_contain_text("苹果")

    pick(page, "field-method-name", "Student alone")
    type_choice(page, "field-student-name", "resnet8")
    fill(page, "field-recipe-epochs", "1")
    fill(page, "field-recipe-batch_size", "8")
    fill(page, "field-seed", "4")
    fill(page, "seeds", "2")
    expect(page.locator("#launch")).to_have_text("Launch 2 runs")
    wait_for(lambda: shown_command(page).endswith("--seeds 2"), lambda: shown_command(page))
    expect(page.locator("#forecast")).to_contain_text("for 2 runs")
    used("seeds")
    wanted = commanded(page)
    assert wanted is not None and wanted.data.params.path == str(dashboard.workspace.datasets / "own" / kept)
    jobs = {job.id for job in store.jobs()}
    page.click("#launch")
    page.wait_for_url("**/runs?run=*")
    first = id_in_address(page)
    new = [job.id for job in store.jobs() if job.id not in jobs]
    assert first in new and len(new) == 2
    assert {launched_spec(dashboard, run_id).seed for run_id in new} == {4, 5}
    assert launched_spec(dashboard, first) == wanted
    expect(page.locator("#run-state .kd-now")).to_have_text("finished")
    for run_id in new:
        wait_for(lambda run_id=run_id: store.get(run_id).state.ended)


def test_what_is_no_archive_of_images_is_refused_and_not_kept(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, tmp_path: Path
) -> None:
    before = own_files(dashboard)
    fake, empty = tmp_path / "holiday.zip", tmp_path / "notes.zip"
    fake.write_bytes(b"PK nothing of the kind")
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("a/readme.txt", "words")
    open_launch(page, dashboard.url)
    fill(page, "field-data-image_size", "20")
    page.get_by_role("button", name="My images").click()
    for path, said in ((fake, "holiday.zip"), (empty, "notes.zip")):
        page.set_input_files("#upload-data input[type=file]", path)
        alert = page.locator("#upload-outcome [role=alert]")
        expect(alert).to_contain_text(said)
        assert alert.locator("li").count() == 1 and str(dashboard.workspace.root) not in alert.inner_text()
        page.locator("#upload-data button[aria-label='Clear'], #upload-data button[aria-label*='emove']").first.click()
    assert own_files(dashboard) == before
    expect(page.locator("#field-data input")).to_have_value(DIGITS)
    expect(page.locator("#field-data-image_size input")).to_have_value("20")
    expect(page.locator("#launch")).to_be_enabled()


def test_one_corrupt_image_is_one_problem_with_its_name(dashboard: Dashboard, page: Page, tmp_path: Path) -> None:
    archive = zip_of_images(tmp_path / "broken.zip", ("sun", "moon"))
    with zipfile.ZipFile(archive, "a") as packed:
        whole = packed.read("sun/00.png")
        packed.writestr("sun/torn.png", whole[: len(whole) // 2])
    open_launch(page, dashboard.url)
    upload(page, archive)
    pick(page, "field-teacher", "train first: resnet20")
    expect(page.locator("#launch")).to_have_text("1 problem to fix")
    expect(page.locator("#problems")).to_contain_text("sun/torn.png")
    words = page.locator("#problems").inner_text()
    assert words.count("torn.png") == 1 and "BytesIO" not in words and str(dashboard.workspace.root) not in words


def test_names_are_problems_at_their_own_fields(dashboard: Dashboard, page: Page) -> None:
    open_launch(page, dashboard.url)
    type_choice(page, "field-student-name", "resnet21")
    expect(page.locator("#field-student-name .kd-mark")).to_contain_text("there is no model 'resnet21'")
    expect(page.locator("#problems")).to_contain_text("Student: there is no model 'resnet21'")
    expect(page.locator("#launch")).to_be_disabled()
    expect(page.locator("#tune")).to_be_disabled()
    assert commanded(page) is None
    type_choice(page, "field-student-name", "vgg8")
    expect(page.locator("#launch")).to_be_enabled()
    expect(page.locator("#tune")).to_be_enabled()
    assert page.locator(".kd-mark").count() == 0
    fill(page, "field-recipe-batch_size", "5000")
    expect(page.locator("#field-recipe-batch_size .kd-mark")).to_contain_text("larger than the")
    fill(page, "field-recipe-lr", "-1")
    expect(page.locator("#field-recipe-lr .kd-mark")).to_contain_text("greater than 0")
    fill(page, "seeds", "0")
    expect(page.locator("#seeds")).to_contain_text("expected 1 to 20")
    expect(page.locator("#launch")).to_be_disabled()


def test_a_typed_teacher_stays_and_data_that_it_does_not_know_are_said(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    open_launch(page, dashboard.url)
    type_choice(page, "field-teacher", "timm/resnet10t")
    wait_for(lambda: commanded_value(page, "teacher.spec.student.name") == "timm/resnet10t")
    type_choice(page, "field-teacher", f"run:{lived_in.teacher}")
    wait_for(lambda: commanded_value(page, "teacher.run") == lived_in.teacher)
    pick(page, "field-data", "my images: 动物.zip")
    expect(page.locator("#field-teacher .kd-mark")).to_contain_text("knows 10 classes")
    assert commanded_value(page, "teacher.run") == lived_in.teacher
    wait_for(lambda: commanded_value(page, "data.image_size") == 32, "the usual size of one's own images")


def test_a_list_that_gets_shorter_while_it_is_open_closes(dashboard: Dashboard, page: Page) -> None:
    open_launch(page, dashboard.url)
    page.click("#field-teacher input")
    options = page.locator("#field-teacher [role=option]")
    expect(options.first).to_be_visible()
    before = options.all_inner_texts()
    page.keyboard.press("Escape")
    page.route("**/queue/join*", lambda route: None)
    pick(page, "field-data", "my images: 动物.zip")  # whose three classes fewer teachers know
    page.click("#field-teacher input")
    expect(options).to_have_count(len(before))
    page.unroute("**/queue/join*")
    expect(options).to_have_count(0)
    expect(page.locator("#data-facts")).to_contain_text("3 classes")
    page.locator("#field-teacher input").blur()
    page.click("#field-teacher input")
    expect(options.first).to_be_visible()
    assert len(options.all_inner_texts()) < len(before)


def test_a_recipe_fills_its_numbers(dashboard: Dashboard, page: Page, used: Callable[[str], None]) -> None:
    open_launch(page, dashboard.url)
    pick(page, "field-recipe-name", "crd240")
    wait_for(lambda: commanded_value(page, "recipe.epochs") == 240)
    assert page.locator("#field-recipe-epochs input").input_value() == "240"
    used("field-recipe-name")


def test_tune_takes_the_experiment_to_studies(dashboard: Dashboard, page: Page) -> None:
    open_launch(page, dashboard.url)
    pick(page, "field-method-name", "Decoupled (DKD)")
    type_choice(page, "field-student-name", "vgg8")
    wait_for(lambda: commanded_value(page, "student.name") == "vgg8")
    page.click("#tune")
    page.wait_for_url("**/studies?spec=*")
    expect(page.locator("#studies-command")).to_contain_text("--student vgg8 --method dkd")


def test_a_double_click_is_one_job_and_a_change_is_another(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    store = JobStore(dashboard.workspace)
    open_launch(page, dashboard.url, f"?clone={lived_in.newest}")  # a second of training
    wait_for(lambda: commanded_value(page, "method.name") == "cs_kd")
    before = len(store.jobs())
    page.dblclick("#launch")
    page.wait_for_url("**/runs?run=*")
    first = id_in_address(page)
    assert len(store.jobs()) == before + 1
    page.go_back()
    wait_for(lambda: commanded_value(page, "method.name") == "cs_kd")
    type_choice(page, "field-student-name", "resnet8x4")
    wait_for(lambda: commanded_value(page, "student.name") == "resnet8x4")
    page.click("#launch")
    page.wait_for_url("**/runs?run=*")
    second = id_in_address(page)
    assert second != first and launched_spec(dashboard, second).student.name == "resnet8x4"
    for run_id in (first, second):
        wait_for(lambda run_id=run_id: store.get(run_id).state.ended)


COMPILING_S = 600


def test_whether_compiling_would_pay_is_measured_and_taken(dashboard: Dashboard, page: Page) -> None:
    open_launch(page, dashboard.url)
    fill(page, "field-recipe-epochs", "1900")
    fill(page, "field-recipe-batch_size", "48")
    # The smallest there is, without a teacher: it is compiled for real.
    pick(page, "field-method-name", "Student alone")
    pick(page, "field-student-name", "resnet8")
    wanted = {"recipe.epochs": 1900, "recipe.batch_size": 48, "student.name": "resnet8", "method.name": "none"}
    wait_for(lambda: {path: commanded_value(page, path) for path in wanted} == wanted)
    expect(page.locator("#set-compile")).to_be_hidden()
    expect(page.locator("#compiling")).to_have_text("")
    spec = commanded(page)
    assert spec is not None
    # As though it had been measured here before that a step takes half of the time.
    threads = torch.get_num_threads()
    torch.set_num_threads(default_threads())
    try:
        with open_times(dashboard.workspace.cache) as known:
            known.put(
                compiling_times.words(spec),
                dict.fromkeys(compiling_times.CANDIDATES, 1e-9)
                | {compiling_times.EAGER: 0.2, compiling_times.COMPILED: 0.1, compiling_times.START: 30.0},
            )
    finally:
        torch.set_num_threads(threads)
    fill(page, "field-recipe-epochs", "1901")
    expect(page.locator("#compiling")).to_contain_text("2.00 times as fast, measured here")
    expect(page.locator("#compiling")).to_contain_text("would save")
    page.click("#set-compile")
    wait_for(lambda: commanded_value(page, "runtime.compile") is True)
    expect(page.locator("#compiling")).to_contain_text("it saves")
    expect(page.locator("#set-compile")).to_be_hidden()
    page.click("#measure-compiling")
    expect(page.locator("#compiling")).to_contain_text("Compiling and timing")
    # Whether it pays here is not asked, and the compiler has time: minutes, on a machine that does other things.
    expect(page.locator("#compiling")).to_contain_text("times as fast, measured here", timeout=1000 * COMPILING_S)
    expect(page.locator("#compiling")).not_to_contain_text("2.00 times")


def test_a_method_is_chosen_among_all_of_its_family(dashboard: Dashboard, page: Page) -> None:
    open_launch(page, dashboard.url)
    page.get_by_role("button", name="Browse").click()
    panel = page.locator("#kd-methods")
    costs = {name: panel.locator(f"[data-method={name}] .kd-step-cost") for name in ("none", "mix_skd")}
    expect(costs["none"]).to_have_text("1.0x plain training")
    expect(costs["mix_skd"]).to_have_text("2.1x plain training")
    panel.get_by_label("Filter the methods").fill("aligned")
    expect(panel.locator("[data-method]:visible")).to_have_count(1)
    panel.get_by_text("Decoupled, class-aligned (DCAD)").click()
    expect(panel).to_be_hidden()
    wait_for(lambda: commanded_value(page, "method.name") == "dcad")
    expect(page.locator("#method-facts")).to_contain_text("When:")


@pytest.mark.parametrize("field", ["student", "teacher"])
def test_a_network_is_found_among_those_of_others(dashboard: Dashboard, page: Page, field: str) -> None:
    open_launch(page, dashboard.url)
    page.locator(f"#networks-{field}").get_by_role("button", name="Search all networks").click()
    panel = page.locator(f"#kd-networks-{field}")
    panel.get_by_role("searchbox").fill("timm resnet10")
    chosen = panel.locator('[data-network="timm/resnet10t"]')
    expect(chosen).to_contain_text("parameters")
    chosen.click()
    expect(panel).to_be_hidden()
    path = "student.name" if field == "student" else "teacher.spec.student.name"
    wait_for(lambda: commanded_value(page, path) == "timm/resnet10t")


def test_changes_are_listed_and_lead_to_their_fields(dashboard: Dashboard, page: Page) -> None:
    open_launch(page, dashboard.url)
    expect(page.locator("#changed")).to_have_text("")
    page.click("#more > button")
    fill(page, "field-recipe-label_smoothing", "0.05")
    fill(page, "field-recipe-epochs", "7")
    expect(page.locator("#changed b")).to_have_text("2 changed")
    page.click("#more > button")
    expect(page.locator("#field-recipe-label_smoothing")).to_be_hidden()
    page.locator("#changed").get_by_role("button", name="0.05").click()
    expect(page.locator("#field-recipe-label_smoothing input")).to_be_focused()


def test_what_is_odd_about_own_images_is_said_with_its_remedy(dashboard: Dashboard, page: Page, tmp_path: Path) -> None:
    archive = zip_of_images(tmp_path / "odd.zip", ("sun", "moon"), count=20)
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("sun/torn.png", b"torn")
        packed.writestr("moon/same.png", packed.read("sun/00.png"))
        packed.writestr(".star/00.png", packed.read("sun/00.png"))
        packed.writestr("sun/old.heic", b"")
        for number in range(15):
            drawn, image = io.BytesIO(), Image.new("RGBA", (20, 20), (0, 0, 0, 0))
            image.putpixel((number, 10), (0, 0, 0, 255))
            image.save(drawn, "PNG")
            packed.writestr(f"moon/drawn-{number}.png", drawn.getvalue())
    open_launch(page, dashboard.url)
    upload(page, archive)
    for said in (
        "stand in more than one class",
        "begins with a dot: .star/ (1)",
        "no images by their names: .heic (1)",
        "15 image(s) with transparent parts",
    ):
        expect(page.locator("#upload-outcome")).to_contain_text(said)
    expect(page.locator("#launch")).to_have_text("1 problem to fix")
    page.get_by_role("button", name="Leave out 1 corrupt image").click()
    wait_for(lambda: commanded_value(page, "data.on_corrupt") == "skip")
    expect(page.locator("#launch")).to_be_enabled()
    samples = page.locator("#data-facts img")
    wait_for(lambda: (0, 0, 0) in {corner(image) for image in samples.all()}, "one that is drawn on nothing")
    page.get_by_role("button", name="Lay transparent parts on white").click()
    wait_for(lambda: (255, 255, 255) in {corner(image) for image in samples.all()}, "it shows what it does")
    wait_for(lambda: commanded_value(page, "data.transparent") == "white")
    size = page.locator("#upload-take-size")
    wanted = int("".join(filter(str.isdigit, size.inner_text())))
    size.click()
    wait_for(lambda: commanded_value(page, "data.image_size") == wanted)
