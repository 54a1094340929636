"""The table of runs: found, sorted, folded, ticked; and what is done with several runs, counted in clicks."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from clicks import Clicks, fill, wait_for
from dashboard import Dashboard
from lived_in import LivedIn
from made_runs import make_run
from playwright.sync_api import Locator, Page, expect
from test_runs import choose, open_runs, plotted

from kdengine.jobs import JobStore
from kdengine.workspace.annotations import annotate, read_annotations

pytestmark = pytest.mark.browser
FEW_CLICKS = 4


def row(page: Page, run_id: str) -> Locator:
    return page.locator(f'#runs-table tr[data-run="{run_id}"]')


def tick(run_id: str) -> str:
    return f'tr[data-run="{run_id}"] .tick input'


def as_people_sort(name: str) -> list[tuple[int, int, str]]:
    """resnet8 before resnet20."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def in_order(page: Page) -> list[str]:
    """Ids of the runs that the table shows, from the top down."""
    return page.eval_on_selector_all("#runs-table tr[data-run]", "rows => rows.map(row => row.dataset.run)")


@pytest.fixture
def doomed(dashboard: Dashboard) -> Iterator[list[str]]:
    """Three runs that may be deleted."""
    ids = [f"doomed-{number}" for number in range(3)]
    for number, run_id in enumerate(ids):
        make_run(dashboard.workspace, run_id, [0.2, 0.3], seed=90 + number, title=f"<i>doomed</i> {number}")
    yield ids
    store = JobStore(dashboard.workspace)
    for run_id in ids:
        if store.find(run_id):
            store.delete(run_id)


def test_two_runs_curves_are_on_one_plot_and_their_differing_settings_in_a_table_in_a_few_clicks(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    open_runs(page, dashboard)
    expect(page.locator("#ticked-bar")).to_be_hidden()
    click = Clicks(page)
    for run_id in (lived_in.taught, lived_in.own):
        click(tick(run_id))
    expect(page.locator("#ticked-count")).to_have_text("2 ticked")
    click("#ticked-overlay")
    wait_for(lambda: set(plotted(page, "overlay-plot")) == {"gamma", "alpha"}, "two curves")
    assert click.count <= FEW_CLICKS
    click = Clicks(page)
    click("#ticked-compare")
    table = page.locator(".kd-differences")
    expect(table.locator("tr", has_text="method.temperature")).to_contain_text("3.5")
    assert click.count + 2 <= FEW_CLICKS, "with the two ticks"
    expect(page.locator("#overlay-plot")).to_be_hidden()
    page.click("#ticked-close")
    expect(page.locator("#ticked-result")).to_be_hidden()
    assert page.locator("#run-state .id").inner_text(), "a tick opens no run"


def test_rows_are_sorted_folded_and_ticked_in_the_browser_which_keeps_it(
    dashboard: Dashboard, lived_in: LivedIn, doomed: list[str], page: Page
) -> None:
    open_runs(page, dashboard)
    fold = page.locator("#runs-table tr.group", has_text="older").locator(".kd-fold")
    expect(fold).to_have_attribute("aria-expanded", "false")
    folded = len(in_order(page))
    fold.click()
    expect(fold).to_have_attribute("aria-expanded", "true")
    assert len(in_order(page)) == folded + 9, "eight trials and their controller"
    fold.click()
    page.click("#runs-table [data-sort=seed]")
    expect(page.locator("#runs-table th[data-col=seed]")).to_have_attribute("aria-sort", "descending")
    ids = in_order(page)
    assert ids.index(lived_in.taught) < min(map(ids.index, (lived_in.own, lived_in.teacher))), "seed 5 before seed 0"
    page.click("#runs-table [data-sort=name]")
    names = page.locator("#runs-table td[data-col=name] a").all_inner_texts()
    assert names == sorted(names, key=as_people_sort)
    assert names[:4] == [f"<i>doomed</i> {number}" for number in range(3)] + ["alpha"]
    ids = doomed  # no folded group stands between them, whose runs would be ticked with it
    page.click(tick(ids[0]))
    page.click(tick(ids[2]), modifiers=["Shift"])
    expect(page.locator("#ticked-count")).to_have_text("3 ticked")
    page.click(tick(ids[1]))
    assert page.evaluate("document.documentElement.dataset.tickedRuns") == f"{ids[0]},{ids[2]}"
    page.click(".kd-columns summary")
    page.uncheck(".kd-columns [data-column=seed]")
    expect(row(page, ids[0]).locator("[data-col=seed]")).to_be_hidden()
    page.reload()
    expect(row(page, ids[0])).to_be_visible()
    expect(page.locator("#runs-table th[data-col=name]")).to_have_attribute("aria-sort", "ascending")
    expect(row(page, ids[0]).locator("[data-col=seed]")).to_be_hidden()
    page.uncheck(".kd-fold-all")
    expect(page.locator("#runs-table tr.group")).to_have_count(0)


def test_a_view_brings_back_search_order_and_columns(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    open_runs(page, dashboard)
    views = page.locator("#runs-views")
    page.locator("#runs-search input").fill("name:gamma")
    page.click(".kd-columns summary")
    page.uncheck(".kd-columns [data-column=seed]")
    page.locator("#run-panel").click(position={"x": 40, "y": 4})
    expect(page.locator(".kd-columns > div")).to_be_hidden()
    page.click("#runs-table [data-sort=name]")
    for name in ("mine", "other"):
        views.locator("summary").click()
        views.get_by_label("Name of the view").fill(name)
        views.get_by_role("button", name="Save this view").click()
        views.locator("summary").click()
        page.locator("#runs-search input").fill("")
    page.click("#runs-table [data-sort=name]")
    page.click(".kd-columns summary")
    page.check(".kd-columns [data-column=seed]")
    page.reload()
    expect(row(page, lived_in.own).locator("[data-col=seed]")).to_be_visible()
    views.locator("summary").click()
    views.get_by_role("button", name="mine", exact=True).click()
    wait_for(lambda: in_order(page) == [lived_in.taught], "the search of that view")
    expect(page.locator("#runs-table th[data-col=name]")).to_have_attribute("aria-sort", "ascending")
    expect(row(page, lived_in.taught).locator("[data-col=seed]")).to_be_hidden()
    views.locator("summary").click()
    views.get_by_label("Delete the view mine").click()
    expect(views.locator(".kd-view")).to_have_text(["other"])


def test_a_search_stands_in_the_address_and_says_what_it_does_not_understand(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    page.goto(f"{dashboard.url}/runs?q=method:tf_kd&run={lived_in.own}")
    expect(row(page, lived_in.outside)).to_be_visible()
    assert in_order(page) == [lived_in.outside]
    expect(page.locator("#run-state .id")).to_contain_text(lived_in.own)
    page.locator("#runs-search input").fill("name:gamma methd:kd")
    expect(page.locator("#runs-said")).to_contain_text("did you mean method?")
    wait_for(lambda: in_order(page) == [lived_in.taught], "the run of that name")
    choose(page, lived_in.taught)
    assert "q=name%3Agamma+methd%3Akd" in page.url and f"run={lived_in.taught}" in page.url
    page.go_back()
    expect(page.locator("#run-state .id")).to_contain_text(lived_in.own)
    assert "q=name%3Agamma+methd%3Akd" in page.url, "back to the run, with the search that is shown"
    page.click("#runs-search-help summary")
    page.locator("#runs-search-help [data-query]", has_text="method:kd acc").click()
    expect(page.locator("#runs-search input")).to_have_value("method:kd acc>0.9")
    page.locator("#runs-search input").fill("no such run")
    expect(page.locator("#runs-table .kd-empty")).to_have_text("No run matches the search.")
    page.locator("#runs-search input").fill("")
    expect(row(page, lived_in.own)).to_be_visible()
    wait_for(lambda: "q=" not in page.url, "an address without search")


def test_name_tags_and_notes_are_kept_and_found(
    dashboard: Dashboard, lived_in: LivedIn, doomed: list[str], page: Page
) -> None:
    run = dashboard.workspace.run(doomed[1])
    open_runs(page, dashboard, doomed[1])
    expect(page.locator("#run-state h2")).to_have_text("<i>doomed</i> 1")
    page.click("#notes-box > button")
    for field, words in (("run-name", "second"), ("run-tags", "paper, two words"), ("run-notes", "warm-up helps")):
        fill(page, field, words)
    page.click("#run-notes-save")
    expect(page.locator("#run-notes-said")).to_contain_text("Saved")
    expect(row(page, doomed[1]).locator("[data-col=name]")).to_have_text("second")
    expect(page.locator("#run-state h2")).to_have_text("second")
    assert read_annotations(run).tags == ("paper", "two words")
    choose(page, lived_in.own)
    expect(page.locator("#run-name input")).to_have_value("")
    choose(page, doomed[1])
    expect(page.locator("#run-notes textarea")).to_have_value("warm-up helps")
    for run_id in (doomed[0], doomed[1]):
        page.click(tick(run_id))
    page.locator("#ticked-tag input").fill("fast")
    page.click("#ticked-add-tag")
    expect(page.locator("#ticked-refused")).to_contain_text("2 runs have #fast")
    page.locator("#ticked-tag input").fill("paper")
    page.click("#ticked-remove-tag")
    expect(page.locator("#ticked-refused")).to_contain_text("no longer have #paper")
    assert read_annotations(run).tags == ("two words", "fast")
    page.locator("#runs-search input").fill("tag:fast")
    wait_for(lambda: sorted(in_order(page)) == doomed[:2], "the runs with the tag")


def test_several_runs_are_taken_away_as_a_file_and_deleted(
    dashboard: Dashboard, lived_in: LivedIn, doomed: list[str], page: Page
) -> None:
    annotate(dashboard.workspace.run(doomed[0]), tags=["=1+1"])
    open_runs(page, dashboard, lived_in.own)
    page.locator("#runs-search input").fill("doomed")
    wait_for(lambda: sorted(in_order(page)) == doomed, "the runs to delete")
    page.click(".kd-tick-all")
    page.click(tick(doomed[2]))
    expect(page.locator("#ticked-count")).to_have_text("2 ticked")
    with page.expect_download() as download:
        page.click("#ticked-csv")
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        lines = {line["id"]: line for line in csv.DictReader(file)}
    assert sorted(lines) == doomed[:2] and lines[doomed[0]]["tags"] == "'=1+1"
    page.click("#ticked-delete")
    expect(page.locator("#ticked-outcome")).to_contain_text("<i>doomed</i> 0")
    page.click("#ticked-delete-keep")
    expect(page.locator("#ticked-result")).to_be_hidden()
    page.click("#ticked-delete")
    expect(page.locator("#ticked-delete-sure")).to_have_text("Delete 2 runs permanently")
    page.click("#ticked-delete-sure")
    expect(page.locator("#ticked-outcome")).to_contain_text("2 runs deleted")
    wait_for(lambda: in_order(page) == [doomed[2]], "the one that was not ticked")
    assert [JobStore(dashboard.workspace).find(run_id) is None for run_id in doomed] == [True, True, False]
    expect(page.locator("#ticked-bar")).to_be_hidden()


def test_the_chosen_run_is_drawn_another_way_and_compared_with_another(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    open_runs(page, dashboard, lived_in.taught)
    wait_for(lambda: "student" in plotted(page, "run-curves"), "the curves")
    before = plotted(page, "run-curves")
    page.locator("#smoothing input[type=number]").fill("0.9")
    page.keyboard.press("Tab")
    wait_for(lambda: plotted(page, "run-curves")["ce"] != before["ce"], "smooth curves")
    page.check("#log-axis input")
    axis = "() => document.querySelector('#run-curves .js-plotly-plot').layout.yaxis2.type"
    wait_for(lambda: page.evaluate(axis) == "log", "the logarithmic axis")
    page.click("#differs-box > button")
    expect(page.locator("#differs")).to_contain_text("method.temperature")
    page.click("#differs-from input")
    page.locator("#differs-from").get_by_role("option", name="alpha").click()
    expect(page.locator("#differs th a").nth(1)).to_have_text("alpha")
    page.click("#notes-box > button")
    page.click(tick(lived_in.own))
    expect(page.locator("#ticked-bar")).to_be_visible()
    found = Axe().run(page, "#runs-row").response["violations"]
    assert not found, [(each["id"], [node["target"] for node in each["nodes"]]) for each in found]


def test_a_narrow_screen_shows_table_and_run_without_sideways_scroll(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_runs(page, dashboard, lived_in.taught)
    expect(page.locator("#run-curves .js-plotly-plot")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    choose(page, lived_in.own)
    wait_for(lambda: page.locator("#run-panel").bounding_box()["y"] < 844, "the run comes into sight")
    page.click(".kd-panel-toggle")
    expect(page.locator("#run-panel")).to_be_hidden()
    page.click(".kd-panel-toggle")
    expect(page.locator("#run-panel")).to_be_visible()
