"""A study from the browser: asked for by clicks, refused in words, run as jobs, extended, confirmed, promoted."""

from __future__ import annotations

import re

import pytest
from clicks import unfold
from dashboard import Dashboard
from playwright.sync_api import Locator, Page, expect

from kdengine.jobs import JobStore
from kdengine.workspace.states import State
from studies import actions as control
from studies import confirm, words

# Ten minutes of clicks on a slow machine; `make long` runs it.
pytestmark = [pytest.mark.browser, pytest.mark.long]

STATE, PROBLEMS, REFUSED = "#studies-state", "#studies-problems", "#studies-refused"


def fill(page: Page, field: str, value: str) -> None:
    control = page.locator(f"#studies-{field} input, #studies-{field} textarea")
    control.fill(value)
    control.blur()  # a Tab would open the list of the next control over the table of the space


def pick(page: Page, field: str, label: str) -> None:
    page.click(f"#studies-{field} input")
    page.locator(f"#studies-{field}").get_by_role("option", name=label, exact=True).click()


def box(page: Page, setting: str) -> Locator:
    return page.get_by_label(f"Search {setting}", exact=True)


def write_range(page: Page, setting: str, value: str) -> None:
    page.get_by_label(f"Range of {setting}", exact=True).fill(value)


def small(page: Page, name: str, epochs: str, trials: str) -> None:
    """The ready study of soft targets, made small."""
    pick(page, "ready", "kd")
    expect(page.locator("#studies-command")).to_contain_text("kd study new kd ")
    fill(page, "name", name)
    fill(page, "per-class", "10")
    fill(page, "epochs", epochs)
    fill(page, "trials", trials)
    expect(page.locator("#studies-command")).to_contain_text(f"kd study new {name} ")
    expect(page.locator("#studies-command")).to_contain_text(f"--trials {trials}")


def points(page: Page, kind: str) -> dict[str, list[float]]:
    return page.evaluate(
        "(id) => Object.fromEntries((document.querySelector(id + ' .js-plotly-plot')?.data || [])"
        ".map(trace => [trace.name, Array.from(trace.y)]))",
        f"#studies-{kind}",
    )


def test_a_study_by_clicks(dashboard: Dashboard, page: Page) -> None:
    workspace, store = dashboard.workspace, JobStore(dashboard.workspace)
    before = len(store.jobs())
    page.goto(f"{dashboard.url}/studies")
    expect(page.locator(STATE)).to_contain_text("No study yet")
    small(page, "clicked", "4", "3")
    expect(page.locator("#studies-command")).to_contain_text("method.temperature=1..10,log")
    # Nothing is learnt at the rate that is the default here: there is something to find, and to confirm.
    fill(page, "per-class", "50")
    page.get_by_role("button", name="Objective, sampler, pruning, other settings").click()
    fill(page, "settings", "recipe.batch_size=32\nrecipe.lr=0.00001")
    expect(page.locator("#studies-command")).to_contain_text("recipe.lr=0.00001")

    # What cannot be is refused in words, every problem at once, and nothing is begun.
    write_range(page, "method.temperature", "9..1")
    fill(page, "name", "not good")
    page.click("#studies-begin")
    expect(page.locator(PROBLEMS)).to_contain_text("upside down")
    expect(page.locator(PROBLEMS)).to_contain_text("found 'not good'")
    fill(page, "name", "clicked")
    for ticked in page.locator("#studies-space input:checked").all()[::-1]:
        ticked.click()
    expect(page.locator("#studies-command")).not_to_contain_text("--tune")
    page.click("#studies-begin")
    expect(page.locator(PROBLEMS)).to_contain_text("is empty")
    assert len(store.jobs()) == before and not workspace.studies_db.exists()

    write_range(page, "method.temperature", "1..9, log")
    write_range(page, "recipe.lr", "0.00001..0.1, log")
    for setting in ("method.temperature", "recipe.lr"):
        box(page, setting).click()
    expect(page.locator("#studies-command")).to_contain_text("--tune method.temperature=1..9,log")
    page.click("#studies-begin")
    expect(page.locator(STATE)).to_contain_text("of 3 trials")
    expect(page.locator(STATE)).to_contain_text("3 of 3 trials")
    expect(page.locator(f"{STATE} .kd-now")).to_have_text("finished")

    now = control.view("clicked", workspace)
    assert [each.field for each in now.plan.searched] == ["method.temperature", "recipe.lr"]
    expect(page.locator(STATE)).to_contain_text(words.trial_value(now, now.best))
    assert_table(page, "clicked", dashboard)
    best = [100 * row.values[0] for row in now.trials if row.values]
    assert points(page, "history")["trials"] == pytest.approx(best)
    for title, kind in (("Curves", "curves"), ("Slices", "slices"), ("Parallel", "parallel"), ("Contour", "contour")):
        page.get_by_role("tab", name=title).click()
        expect(page.locator(f"#studies-{kind} .js-plotly-plot")).to_be_visible()
        assert points(page, kind)

    # A trial by hand: refused outside the space, else it waits for the study to be extended.
    fill(page, "hand", "method.nothing=2")
    page.click("#studies-add")
    expect(page.locator(REFUSED)).to_contain_text("is not searched")
    fill(page, "hand", "method.temperature=2")
    page.click("#studies-add")
    expect(page.locator("#studies-table")).to_contain_text("by hand")
    expect(page.locator(REFUSED)).not_to_contain_text("is not searched")

    fill(page, "most", "2")
    page.click("#studies-resume")
    expect(page.locator(REFUSED)).to_contain_text("3 trials are done already")
    fill(page, "most", "4")
    page.click("#studies-resume")
    expect(page.locator(STATE)).to_contain_text("4 of 4 trials")
    expect(page.locator(f"{STATE} .kd-now")).to_have_text("finished")
    assert control.view("clicked", workspace).trials[-1].params["method.temperature"] == 2
    assert_table(page, "clicked", dashboard)

    # Fresh seeds say whether the gain is real.
    now = control.view("clicked", workspace)
    assert now.best.number != now.default.number
    fill(page, "fresh", "2")
    page.click("#studies-confirm")
    confirmed = page.locator("#studies-confirmed")
    expect(confirmed).to_contain_text("of 4 runs finished")
    expect(confirmed).not_to_contain_text("runs finished")
    now = control.view("clicked", workspace)
    found = confirm.read(now, confirm.plan_for(now, 2), workspace)
    assert words.verdict(found)[1:] in confirmed.inner_text()
    rows = [line.locator("td").all_inner_texts() for line in confirmed.locator("tbody tr").all()]
    assert [line[0] for line in rows] == ["defaults", "tuned"]
    assert rows[1][1] == words.metric_value("accuracy", now.best.values[0])
    assert rows[1][3] == words.spread_values(found, "test", "tuned")

    # Its job among the runs, and the way back.
    page.goto(f"{dashboard.url}/runs?run=study-clicked")
    expect(page.locator("#run-state .kd-now")).to_have_text("finished")
    for button in ("clone", "delete", "resume", "to-demo"):
        expect(page.locator(f"#{button}")).not_to_be_visible()
    page.locator("#run-state").get_by_role("link", name="the study").click()
    page.wait_for_url("**/studies?name=clicked")

    # The best values fill the Launch page.
    page.click("#studies-promote")
    page.wait_for_url("**/launch?study=clicked")
    for path, value in now.best.params.items():
        field = path.replace("method.", "kd-").replace(".", "-")
        expect(page.locator(f"#field-{field} input")).to_have_value(re.compile(re.escape(f"{value:g}"[:5])))
    expect(page.locator("#command")).to_contain_text("--student resnet20 --method kd")
    expect(page.locator("#command")).to_contain_text("data.per_class=50")


def assert_table(page: Page, name: str, dashboard: Dashboard) -> None:
    """The table says what the study says."""
    now = control.view(name, dashboard.workspace)
    lines = page.locator("#studies-table tbody tr")
    expect(lines).to_have_count(len(now.trials))
    shown = [line.locator("td").all_inner_texts() for line in lines.all()]
    paths = [each.field for each in now.plan.searched]
    assert [[line[0], *line[2:]] for line in shown] == [
        [
            str(row.number),
            row.state,
            words.metric_value("accuracy", row.values[0]) if row.values else "",
            *(words.setting_value(row.params.get(path)) for path in paths),
            str(row.epochs),
            words.remark(row, now),
        ]
        for row in now.trials
    ]


def test_a_study_is_stopped_and_goes_on(dashboard: Dashboard, page: Page) -> None:
    page.goto(f"{dashboard.url}/studies")
    unfold(page, "studies-new", "studies-state")
    expect(page.locator("#studies-command")).to_contain_text("--tune")
    small(page, "long", "40", "30")
    page.click("#studies-begin")
    expect(page.locator(f"{STATE} .kd-now")).to_have_text("running")
    expect(page.locator("#studies-table")).to_contain_text("running")
    expect(page.locator("#studies-resume")).not_to_be_visible()
    page.click("#studies-stop")
    expect(page.locator(f"{STATE} .kd-now")).to_have_text("stopped")
    job = JobStore(dashboard.workspace).get("study-long")
    assert job.state is State.STOPPED

    page.click("#studies-resume")
    expect(page.locator(f"{STATE} .kd-now")).to_have_text("running")
    page.click("#studies-after")
    expect(page.locator(STATE)).to_contain_text("stops after the current trials")
    expect(page.locator("#studies-after")).not_to_be_visible()
    page.click("#studies-stop")
    expect(page.locator(f"{STATE} .kd-now")).to_have_text("stopped")


def test_goals_seeds_and_an_experiment_from_launch(dashboard: Dashboard, page: Page) -> None:
    page.goto(f"{dashboard.url}/launch?quick=1")
    expect(page.locator("#command")).to_contain_text("kd train")
    page.click("#tune")
    page.wait_for_url("**/studies?spec=*")
    expect(page.locator("#studies-space tbody tr").first).to_be_visible()
    expect(page.locator("#studies-command")).to_contain_text("kd study new first --dataset digits")

    small(page, "fronts", "1", "2")
    fill(page, "seeds", "2")
    page.click("#studies-estimate")
    expect(page.locator("#studies-cost")).to_contain_text("4 runs of")
    page.get_by_role("button", name="Objective, sampler, pruning, other settings").click()
    pick(page, "goals", "calibration (ECE)")
    expect(page.locator("#studies-command")).to_contain_text("--metrics accuracy,ece --pruner none")
    page.click("#studies-begin")
    expect(page.locator(STATE)).to_contain_text("2 of 2 trials")
    expect(page.locator(f"{STATE} .kd-now")).to_have_text("finished")

    now = control.view("fronts", dashboard.workspace)
    assert now.plan.metrics == ("accuracy", "ece") and now.plan.seeds == (0, 1)
    assert all(len(row.runs) == 2 and row.state == "complete" for row in now.trials)
    cells = page.locator("#studies-table tbody tr").first.locator("td").all_inner_texts()
    values = now.trials[0].values
    assert cells[3:5] == [words.metric_value("accuracy", values[0]), words.metric_value("ece", values[1])]
    page.get_by_role("tab", name="Pareto").click()
    expect(page.locator("#studies-front .js-plotly-plot")).to_be_visible()
    shown = [value for trace in points(page, "front").values() for value in trace]
    assert sorted(shown) == pytest.approx(sorted(words.scaled("ece", row.values[1]) for row in now.trials))
