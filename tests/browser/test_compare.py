"""A comparison from the browser: picked by clicks, refused in words, run as jobs, stopped, resumed, taken away."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable

import pytest
from clicks import Clicks, fill, pick, shown_command, type_choice, unfold, wait_for
from dashboard import Dashboard
from lived_in import LivedIn
from playwright.sync_api import Page, expect
from test_frame import MAX_SHIFT, SHIFTED, opened

from kdengine.comparison.progress import progress
from kdengine.comparison.report import report
from kdengine.comparison.stored_plans import load_plan
from kdengine.comparison.tables import CORE, columns, rows
from kdengine.jobs import JobStore

pytestmark = pytest.mark.browser
FEW_CLICKS = 3
SETTLE_MS = 3000


def words(page: Page) -> list[str]:
    return shlex.split(shown_command(page, "compare-command"))


def option(page: Page, name: str) -> str | None:
    found = words(page)
    return found[found.index(name) + 1] if name in found else None


def test_every_field_stands_in_the_command(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, used: Callable[[str], None]
) -> None:
    page.goto(f"{dashboard.url}/compare")
    unfold(page, "compare-new", "compare-state")
    expect(page.locator("#compare-command")).to_contain_text("kd compare first")
    expect(page.locator("#compare-cost")).to_contain_text("none, none, cutmix, kd, dkd, byot")
    expect(page.locator("#compare")).to_contain_text("Compare: 25 runs")
    fill(page, "compare-name", "mine")
    wait_for(lambda: words(page)[2] == "mine")
    page.get_by_label("Student alone with CutMix").uncheck()
    wait_for(lambda: "--no-cutmix" in words(page))
    expect(page.locator("#compare")).to_contain_text("Compare: 20 runs")
    page.get_by_label("Decoupled (DKD)").uncheck()
    wait_for(lambda: option(page, "--methods") == "kd,byot")
    page.get_by_role("button", name="More arms and settings").click()
    for field, value, check in (
        ("per-class", "12", lambda: "data.per_class=12" in words(page)),
        ("epochs", "2", lambda: option(page, "--epochs") == "2"),
        ("seeds", "2", lambda: option(page, "--seeds") == "2"),
        ("arms", "warm method=kd method.temperature=2", lambda: option(page, "--arm") is not None),
        ("settings", "recipe.lr=0.02", lambda: "recipe.lr=0.02" in words(page)),
    ):
        fill(page, f"compare-{field}", value)
        wait_for(check, lambda: shown_command(page, "compare-command"))
    expect(page.locator("#compare")).to_contain_text("Compare: 8 runs")
    fill(page, "compare-tune", "3")
    wait_for(lambda: option(page, "--tune") == "3")
    expect(page.locator("#compare")).to_contain_text("Compare: 28 runs")
    expect(page.locator("#compare-cost")).to_contain_text("3 trials search the learning rate")
    type_choice(page, "compare-student", "vgg8")
    wait_for(lambda: option(page, "--student") == "vgg8")
    type_choice(page, "compare-teacher", f"run:{lived_in.teacher}")
    wait_for(lambda: option(page, "--teacher") == f"run:{lived_in.teacher}")
    pick(page, "compare-data", "my images: 动物.zip")
    wait_for(lambda: option(page, "--dataset") == "folder")
    assert option(page, "--teacher") == f"run:{lived_in.teacher}", "what was chosen stays chosen"
    for field in ("name", "cutmix", "methods", "per-class", "epochs", "seeds", "tune", "arms", "settings", "student",
                  "teacher", "data"):  # fmt: skip
        used(f"compare-{field}")


def weighed(page: Page, seeds: int) -> str:
    """What the button says that adds so many seeds; typed again where the page filled the field meanwhile itself."""
    for typed in (seeds + 1, seeds):
        fill(page, "compare-more-seeds", str(typed))
        page.wait_for_timeout(SETTLE_MS)
    return page.locator("#compare-add").inner_text().partition(",")[0]


def test_a_comparison_by_clicks(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, used: Callable[[str], None]
) -> None:
    store = JobStore(dashboard.workspace)
    before = len(store.jobs())
    page.goto(f"{dashboard.url}/compare")
    unfold(page, "compare-new", "compare-state")
    expect(page.locator("#compare-command")).to_contain_text("kd compare first")
    fill(page, "compare-name", "clicked")
    fill(page, "compare-per-class", "ten")
    fill(page, "compare-epochs", "1")
    fill(page, "compare-seeds", "1")
    for label in ("Decoupled (DKD)", "Be your own teacher (BYOT)", "Student alone with CutMix"):
        page.get_by_label(label).uncheck()
    wait_for(lambda: words(page)[:7] == shlex.split("kd compare clicked --methods kd --no-cutmix --seeds"))

    # What cannot be is refused in words, and nothing is queued.
    page.click("#compare")
    expect(page.locator("#compare-problems")).to_contain_text("'ten'")
    assert len(store.jobs()) == before
    fill(page, "compare-per-class", "12")
    type_choice(page, "compare-teacher", f"run:{lived_in.teacher}")
    wait_for(lambda: option(page, "--teacher") == f"run:{lived_in.teacher}")
    expect(page.locator("#compare")).to_contain_text("Compare: 2 runs, about")
    page.click("#compare")
    expect(page.locator("#compare-refused")).to_contain_text("2 runs queued")
    expect(page.locator("#compare-state .dot")).to_have_count(2)
    assert {job.student for job in store.jobs()[: len(store.jobs()) - before]} == {"resnet20"}

    page.click("#compare-stop")
    expect(page.locator("#compare-refused")).to_contain_text("stopped")
    expect(page.locator("#compare-resume")).to_be_visible()
    page.click("#compare-resume")
    expect(page.locator("#compare-state")).to_contain_text("2 of 2 runs finished")
    expect(page.locator("#compare-state")).not_to_contain_text("measuring")

    # The table says what the run folders say; the teacher by itself is in it, and what one seed is worth.
    found = report(progress(load_plan(dashboard.workspace, "clicked"), dashboard.workspace))
    table = page.locator("#compare-table table")
    expect(table.locator("th")).to_have_count(len(columns(found)))
    expect(table.locator("th:visible")).to_have_count(CORE)
    page.get_by_label("All columns").check()
    expect(table.locator("th:visible")).to_have_count(len(columns(found)))
    shown = [line.locator("td").all_inner_texts() for line in table.locator("tbody tr").all()]
    assert shown == [list(line) for line in rows(found)]
    assert [line[0] for line in shown] == ["teacher", "none", "kd"]
    assert "one seed says nothing" in table.inner_text()
    expect(page.locator("#compare-state .kd-finding")).to_contain_text("1 of 1 arms are not decided")
    assert page.evaluate("() => document.querySelector('#compare-gains .js-plotly-plot').data.length") == 1

    for kind, holds in (
        ("csv", "arm,"),
        ("markdown", "| arm"),
        ("latex", "\\toprule"),
        ("html", "<!doctype"),
        ("svg", "<svg "),
    ):
        with page.expect_download() as download:
            page.click(f"#compare-{kind}")
        text = download.value.path().read_text()
        assert holds in text, text[:200]
        if kind == "csv":
            assert [line["arm"] for line in csv.DictReader(io.StringIO(text))] == ["teacher", "none", "kd"]

    # One more seed is two more runs; those that are there stay.
    page.get_by_role("button", name="Add seeds or methods").click()
    expect(page.locator("#compare-more-seeds input")).to_have_value("1")
    pick(page, "compare-more-methods", "Decoupled (DKD)")
    wait_for(lambda: weighed(page, 1) == "Add 1 run", "one run of the further method")
    used("compare-more-methods")  # the page may ask once for both changes
    page.locator("#compare-more-methods input").press("Backspace")
    page.keyboard.press("Escape")
    wait_for(lambda: weighed(page, 2) == "Add 2 runs", "one more seed of both arms")
    page.click("#compare-add")
    expect(page.locator("#compare-refused")).to_contain_text("2 runs queued")
    expect(page.locator("#compare-state .dot")).to_have_count(4)
    page.click("#compare-stop")
    expect(page.locator("#compare-refused")).to_contain_text("stopped")
    assert load_plan(dashboard.workspace, "clicked").seeds == (0, 1)

    # A dot leads to its run, a name in the address to its comparison.
    page.locator("#compare-state a").first.click()
    page.wait_for_url("**/runs?run=*")
    expect(page.locator("#run-state .kd-now")).to_have_text("finished")
    page.goto(f"{dashboard.url}/compare?name=clicked")
    expect(page.locator("#compare-chosen input")).to_have_value("clicked")
    expect(page.locator("#compare-state")).to_contain_text("of 4 runs finished")
    pick(page, "compare-chosen", "earlier")
    expect(page.locator("#compare-state")).to_contain_text("0 of 3 runs finished")

    # From anywhere to the table of a paper.
    page.goto(dashboard.url)
    click = Clicks(page)
    click("header nav a[href='/compare']")
    expect(page.locator("#compare-latex")).to_be_visible()
    with page.expect_download() as download:
        click("#compare-latex")
    text = download.value.path().read_text()
    assert "\\toprule" in text and "footnotesize" in text, text
    assert click.count <= FEW_CLICKS

    # The figure is drawn later than the table below it, which stays where it is.
    opened(page, dashboard, "compare?name=clicked")
    expect(page.locator("#compare-gains .js-plotly-plot")).to_be_visible()
    expect(page.locator("#compare-table table")).to_be_visible()
    assert page.evaluate(SHIFTED) < MAX_SHIFT


@pytest.mark.long
def test_a_tuned_comparison_by_clicks(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    """From the form over stop and resume in the midst of the searches to the table with what was found."""
    page.goto(f"{dashboard.url}/compare")
    unfold(page, "compare-new", "compare-state")
    expect(page.locator("#compare-command")).to_contain_text("kd compare first")
    page.get_by_role("button", name="More arms and settings").click()
    for field, value in (("name", "fair"), ("per-class", "12"), ("epochs", "2"), ("seeds", "2"), ("tune", "2")):
        fill(page, f"compare-{field}", value)
    for label in ("Decoupled (DKD)", "Be your own teacher (BYOT)", "Student alone with CutMix"):
        page.get_by_label(label).uncheck()
    type_choice(page, "compare-student", "resnet8")
    type_choice(page, "compare-teacher", f"run:{lived_in.teacher}")
    wait_for(lambda: option(page, "--teacher") == f"run:{lived_in.teacher}" and option(page, "--tune") == "2")
    expect(page.locator("#compare")).to_contain_text("Compare: 12 runs")
    page.click("#compare")
    state = page.locator("#compare-state")
    expect(page.locator("#compare-refused")).to_contain_text("queued")
    expect(state.locator('a[href*="/studies?name="]')).to_have_count(2)

    page.click("#compare-stop")
    expect(page.locator("#compare-refused")).to_contain_text("stopped")
    page.click("#compare-resume")
    expect(state).to_contain_text("8 of 8 runs finished")
    expect(state).not_to_contain_text("measuring")

    plan = load_plan(dashboard.workspace, "fair")
    shown = [line.locator("td").all_inner_texts() for line in page.locator("#compare-table table tbody tr").all()]
    assert [line[0] for line in shown] == ["teacher", "none", "none, tuned", "kd", "kd, tuned"]
    heads = page.locator("#compare-table table th").all_inner_texts()
    found = heads.index("settings found")
    assert "lr" in shown[2][found] and "temperature" in shown[4][found] and not shown[1][found]
    runs = [run.status().get("fingerprint") for run in dashboard.workspace.list_runs()]
    wanted = [cell.fingerprint for cell in plan.cells]
    assert len(wanted) == 8 and all(runs.count(each) == 1 for each in wanted), "each run once"
