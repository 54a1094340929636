"""A comparison from the browser: picked by clicks, refused in words, run as jobs, shown live, taken away as a file."""

from __future__ import annotations

import csv
import io

import pytest
from dashboard import Dashboard
from playwright.sync_api import Page, expect

from kdengine.comparison.plan import load_plan
from kdengine.comparison.progress import progress
from kdengine.comparison.report import report
from kdengine.comparison.tables import columns, rows
from kdengine.jobs import JobStore

pytestmark = pytest.mark.browser


def fill(page: Page, field: str, value: str) -> None:
    page.fill(f"#compare-{field} input, #compare-{field} textarea", value)
    page.keyboard.press("Tab")


def test_a_comparison_by_clicks(dashboard: Dashboard, page: Page) -> None:
    before = len(JobStore(dashboard.workspace).jobs())
    page.goto(f"{dashboard.url}/compare")
    expect(page.locator("#compare-state")).to_contain_text("No comparison yet")
    fill(page, "name", "clicked")
    fill(page, "per-class", "ten")
    fill(page, "epochs", "1")
    fill(page, "seeds", "1")
    page.get_by_label("Decoupled (DKD)").uncheck()
    page.get_by_label("Be your own teacher (BYOT)").uncheck()
    command = page.locator("#compare-command")
    expect(command).to_contain_text("kd compare clicked --methods kd --seeds 1")

    # What cannot be is refused in words, and nothing is queued.
    page.click("#compare")
    expect(page.locator("#compare-problems")).to_contain_text("data.per_class")
    expect(page.locator("#compare-problems")).to_contain_text("'ten'")
    assert len(JobStore(dashboard.workspace).jobs()) == before

    fill(page, "per-class", "10")
    expect(command).to_contain_text("data.per_class=10")
    page.click("#compare")
    expect(page.locator("#compare-state")).to_contain_text("of 3 runs finished")
    expect(page.locator("#compare-state .dot")).to_have_count(3)
    expect(page.locator("#compare-state")).to_contain_text("3 of 3 runs finished")
    expect(page.locator("#compare-state")).not_to_contain_text("measuring")

    # The table says what the run folders say; the teacher by itself is in it, and what one seed is worth.
    found = report(progress(load_plan(dashboard.workspace, "clicked"), dashboard.workspace))
    table = page.locator("#compare-table table")
    expect(table.locator("th")).to_have_count(len(columns(found)))
    shown = [line.locator("td").all_inner_texts() for line in table.locator("tbody tr").all()]
    assert shown == [list(line) for line in rows(found)]
    assert [line[0] for line in shown] == ["teacher", "none", "none, cutmix", "kd"]
    assert "one seed says nothing" in table.inner_text() and all(line[-6] for line in shown), "fidelity was measured"
    expect(page.locator("#compare-state .kd-said")).to_contain_text("2 of 2 arms are not decided")
    assert page.evaluate("() => document.querySelector('#compare-gains .js-plotly-plot').data.length") == 2

    with page.expect_download() as download:
        page.click("#compare-csv")
    lines = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [line["arm"] for line in lines] == ["teacher", "none", "none, cutmix", "kd"]

    # A dot leads to its run.
    page.locator("#compare-state a").first.click()
    page.wait_for_url("**/runs?run=*")
    expect(page.locator("#run-state .kd-now")).to_have_text("finished")
