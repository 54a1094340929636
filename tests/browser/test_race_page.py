"""A race from the browser: filled in, refused in words, begun, looked at to its end, stopped, resumed, exported."""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Callable

import pytest
from clicks import fill, pick, shown_command, type_choice, wait_for
from dashboard import Dashboard
from lived_in import LivedIn
from playwright.sync_api import Page, expect

from kdengine.jobs import JobStore
from kdengine.workspace.states import State
from studies.race.standing import load_race, races, standing
from studies.race.words import sentence, table

pytestmark = pytest.mark.browser


def words(page: Page) -> list[str]:
    return shlex.split(shown_command(page, "race-command"))


def option(page: Page, name: str) -> str | None:
    found = words(page)
    return found[found.index(name) + 1] if name in found else None


def test_every_field_stands_in_the_command(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, used: Callable[[str], None]
) -> None:
    page.goto(f"{dashboard.url}/race")
    expect(page.locator("#race-state")).to_contain_text("No race yet")
    expect(page.locator("#race-command")).to_contain_text("kd race first")
    expect(page.locator("#race-course")).to_contain_text("Final: the best 3 and the student alone, 5 fresh seeds")
    page.get_by_role("button", name="Methods and settings").click()
    for field, value, check in (
        ("name", "mine", lambda: words(page)[2] == "mine"),
        ("hours", "2.5", lambda: option(page, "--hours") == "2.5"),
        ("per-class", "12", lambda: "data.per_class=12" in words(page)),
        ("epochs", "2", lambda: option(page, "--epochs") == "2"),
        ("seeds", "3", lambda: option(page, "--seeds") == "3"),
        ("settings", "recipe.lr=0.02", lambda: "recipe.lr=0.02" in words(page)),
    ):
        fill(page, f"race-{field}", value)
        wait_for(check, lambda: shown_command(page, "race-command"))
        used(f"race-{field}")
    pick(page, "race-methods", "Be your own teacher (BYOT)")
    wait_for(lambda: option(page, "--methods") == "byot")
    expect(page.locator("#race-course")).to_contain_text("Final: the best 1 and the student alone, 3 fresh seeds")
    type_choice(page, "race-student", "resnet8")
    wait_for(lambda: option(page, "--student") == "resnet8")
    type_choice(page, "race-teacher", f"run:{lived_in.teacher}")
    wait_for(lambda: option(page, "--teacher") == f"run:{lived_in.teacher}")
    pick(page, "race-data", "my images: 动物.zip")
    wait_for(lambda: option(page, "--dataset") == "folder")
    assert option(page, "--teacher") == f"run:{lived_in.teacher}", "what was chosen stays chosen"
    for field in ("methods", "student", "teacher", "data"):
        used(f"race-{field}")
    fill(page, "race-hours", "0")
    expect(page.locator("#race-course")).to_contain_text("hours")


def test_a_race_by_clicks_from_the_form_to_the_exported_student(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, used: Callable[[str], None]
) -> None:
    store = JobStore(dashboard.workspace)
    before = len(store.jobs())
    page.goto(f"{dashboard.url}/race")
    expect(page.locator("#race-state")).to_contain_text("No race yet")
    page.get_by_role("button", name="Methods and settings").click()
    fill(page, "race-name", "dash")
    fill(page, "race-hours", "0.014")
    fill(page, "race-epochs", "1")
    fill(page, "race-seeds", "2")
    fill(page, "race-per-class", "ten")
    type_choice(page, "race-student", "resnet8")
    type_choice(page, "race-teacher", "")
    pick(page, "race-methods", "Be your own teacher (BYOT)")
    wait_for(lambda: option(page, "--methods") == "byot" and option(page, "--student") == "resnet8")
    expect(page.locator("#race-course")).to_contain_text("'ten'")
    page.click("#race")
    expect(page.locator("#race-problems")).to_contain_text("'ten'")
    assert len(store.jobs()) == before and races(dashboard.workspace) == []

    fill(page, "race-per-class", "12")
    wait_for(lambda: "data.per_class=12" in words(page))
    page.click("#race")
    expect(page.locator("#race-refused")).to_contain_text("the final take about")
    expect(page.locator("#race-chosen input")).to_have_value("dash")
    expect(page.locator("#race-table tbody tr")).to_have_count(2)
    expect(page.locator("#race-export")).to_be_hidden()
    wait_for(lambda: len(store.jobs()) > before + 1, "the first runs of the race")

    page.click("#race-stop")
    expect(page.locator("#race-refused")).to_contain_text("The race stops")
    expect(page.locator("#race-state .kd-now")).to_have_text("stopped")
    of_race = [job for job in store.jobs()[: len(store.jobs()) - before] if job.id != "race-dash"]
    wait_for(lambda: all(store.get(job.id).state.ended for job in of_race), "its runs have stopped")
    page.click("#race-resume")
    expect(page.locator("#race-refused")).to_contain_text("The race goes on")
    expect(page.locator("#race-state .kd-now")).to_have_text("finished")

    # The page says what the run folders say.
    now = standing(load_race("dash", dashboard.workspace), dashboard.workspace)
    assert now.state is State.FINISHED and now.verdict is not None and now.winner is not None
    expect(page.locator("#race-state .kd-finding")).to_have_text(sentence(now))
    shown = [line.locator("td").all_inner_texts() for line in page.locator("#race-table tbody tr").all()]
    assert shown == [[row.method, *row.heats, row.tuned, row.final, row.gain, row.fate] for row in table(now)]
    page.get_by_role("button", name="Export the first").click()
    page.get_by_label("ONNX").check()
    expect(page.get_by_label("Also in 8 bits")).to_be_visible()
    page.get_by_label("safetensors (PyTorch)").check()
    expect(page.get_by_label("Also in 8 bits")).to_be_hidden()
    page.click("#race-export-begin")
    expect(page.locator("#race-export-outcome")).to_contain_text("test images")
    with page.expect_download() as download:
        page.click("#race-export-download")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert all(now.winner.id in name for name in archive.namelist())

    page.get_by_role("link", name="the final on Compare").click()
    page.wait_for_url("**/compare?name=dash")
    expect(page.locator("#compare-state")).to_contain_text("4 of 4 runs finished")
    page.goto(f"{dashboard.url}/race?name=nobody")
    expect(page.locator("#race-refused")).to_contain_text("There is no race 'nobody'")
    pick(page, "race-chosen", "dash")
    expect(page.locator("#race-table tbody tr")).to_have_count(2)
    for field in ("stop", "resume", "chosen", "export-format", "export-begin", "export-download"):
        used(f"race-{field}")
