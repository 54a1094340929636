"""The Studies page: the study that was asked for is shown, acted on and promoted; a new one is what the form says."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest
from clicks import commanded_value, pick, shown_command, type_choice, unfold, wait_for
from dashboard import Dashboard
from lived_in import LivedIn
from playwright.sync_api import Page, expect

from kdengine.jobs import JobStore
from kdengine.workspace.states import State
from studies import actions as control
from studies import words

pytestmark = pytest.mark.browser

HISTORY = """() => Array.from((document.querySelector('#studies-history .js-plotly-plot')?.data || [])
    .find(trace => trace.name === 'trials')?.y || [])"""
STATE, REFUSED = "#studies-state", "#studies-refused"


def command(page: Page) -> list[str]:
    return shlex.split(shown_command(page, "studies-command"))


def option(page: Page, name: str) -> str | None:
    found = command(page)
    return found[found.index(name) + 1] if name in found else None


def fill(page: Page, field: str, value: str) -> None:
    control = page.locator(f"#studies-{field} input, #studies-{field} textarea").first
    control.fill(value)
    control.blur()  # a Tab would open the list of the next control over the table of the space


def choose(page: Page, name: str, trials: str) -> None:
    pick(page, "studies-chosen", name)
    expect(page.locator(STATE)).to_contain_text(trials)


def test_the_study_that_was_asked_for_is_shown_in_every_figure(dashboard: Dashboard, page: Page) -> None:
    page.goto(f"{dashboard.url}/studies")
    expect(page.locator(STATE)).to_contain_text("4 of 4 trials")
    choose(page, "older", "8 of 8 trials")
    page.goto(f"{dashboard.url}/studies?name=older")
    expect(page.locator(STATE)).to_contain_text("8 of 8 trials")
    now = control.view("older", dashboard.workspace)
    wanted = [100 * row.values[0] for row in now.trials if row.values]
    wait_for(lambda: page.evaluate(HISTORY) == pytest.approx(wanted), "the history")
    for title, kind in (
        ("Curves", "curves"), ("Importance", "importance"), ("Distribution", "distribution"),
        ("Timeline", "timeline"), ("Slices", "slices"), ("Parallel", "parallel"),
        ("Contour", "contour"), ("Pareto", "front"), ("History", "history"),
    ):  # fmt: skip
        page.get_by_role("tab", name=title).click()
        expect(page.locator(f"#studies-{kind} .js-plotly-plot")).to_be_visible()
    page.get_by_role("tab", name="Contour").click()
    # The two that matter most are there, in either order: both are turned round, by way of twice the same.
    first, second = (page.locator(f"#studies-{axis} input").input_value() for axis in "xy")
    pick(page, "studies-x", second)
    expect(page.locator("#studies-contour")).to_contain_text("Choose two different settings")
    pick(page, "studies-y", first)
    expect(page.locator("#studies-contour .xtitle")).to_contain_text(second.removeprefix("method."))
    expect(page.locator("#studies-contour .ytitle")).to_contain_text(first.removeprefix("method."))
    lines = page.locator("#studies-table tbody tr")
    expect(lines).to_have_count(len(now.trials))
    shown = [line.locator("td").nth(3).inner_text() for line in lines.all()]
    assert shown == [words.metric_value("accuracy", row.values[0]) for row in now.trials]
    note = page.get_by_role("button", name="Note on trial 3")
    note.click()
    page.get_by_role("textbox", name="Note on trial 3").fill("too hot")
    page.keyboard.press("Enter")
    expect(note).to_have_text("too hot")
    assert {row.number: row.note for row in control.view("older", dashboard.workspace).trials if row.note} == {
        3: "too hot"
    }
    page.locator("#studies-table th").get_by_role("button", name="Accuracy").click()
    by_value = sorted(now.trials, key=lambda row: -row.values[0])
    expect(lines.locator("td:first-child")).to_have_text([str(row.number) for row in by_value])


def test_the_best_values_of_that_study_fill_launch(dashboard: Dashboard, page: Page) -> None:
    page.goto(f"{dashboard.url}/studies?name=older")
    expect(page.locator(STATE)).to_contain_text("8 of 8 trials")
    page.click("#studies-promote")
    page.wait_for_url("**/launch?study=older")
    best = control.view("older", dashboard.workspace).best.params
    wait_for(lambda: {path: commanded_value(page, path) for path in best} == pytest.approx(best), f"{best}")
    expect(page.locator("#arrival")).to_contain_text("filled from the study older")


def test_a_trial_is_added_and_the_study_resumed_stopped_and_ended(dashboard: Dashboard, page: Page) -> None:
    store = JobStore(dashboard.workspace)
    page.goto(f"{dashboard.url}/studies?name=older")
    expect(page.locator(STATE)).to_contain_text("8 of 8 trials")
    fill(page, "hand", "method.nothing=2")
    page.click("#studies-add")
    expect(page.locator(REFUSED)).to_contain_text("is not searched")
    page.locator("#studies-hand input, #studies-hand textarea").first.fill("method.temperature=2")
    page.keyboard.press("Enter")
    expect(page.locator("#studies-table")).to_contain_text("by hand")
    fill(page, "most", "2")
    page.click("#studies-resume")
    expect(page.locator(REFUSED)).to_contain_text("8 trials are done already")
    fill(page, "most", "40")
    page.click("#studies-resume")
    expect(page.locator("#studies-stop")).to_be_visible()
    page.click("#studies-after")
    expect(page.locator(STATE)).to_contain_text("stops after the current trials")
    page.click("#studies-stop")
    wait_for(lambda: store.get("study-older").state.ended, "the end of the study")
    expect(page.locator("#studies-resume")).to_be_visible()
    assert store.get("study-older").state is State.STOPPED
    assert control.view("older", dashboard.workspace).plan.budget.trials == 40
    assert control.view("newer", dashboard.workspace).counted == 4, "the other study is as it was"


def test_fresh_seeds_are_queued_for_that_study(dashboard: Dashboard, page: Page) -> None:
    store = JobStore(dashboard.workspace)
    before = {job.id for job in store.jobs()}
    page.goto(f"{dashboard.url}/studies?name=newer")
    expect(page.locator(STATE)).to_contain_text("4 of 4 trials")
    fill(page, "fresh", "1")
    page.click("#studies-confirm")
    expect(page.locator(f"{REFUSED} [role=alert]")).to_have_count(1)
    fill(page, "fresh", "2")
    page.click("#studies-confirm")
    expect(page.locator("#studies-confirmed")).to_contain_text("of 4 runs")
    # The page counts the runs of the plan, which is written before they are queued one by one.
    wait_for(lambda: len(store.jobs()) == len(before) + 4, "four runs in the queue")
    new = [job.id for job in store.jobs() if job.id not in before]
    for job in new:
        store.cancel(job) if store.get(job).state == State.QUEUED else store.request_kill(job)
    wait_for(lambda: all(store.get(job).state.ended for job in new))


def test_every_field_stands_in_the_command_and_a_new_study_is_that(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, used: Callable[[str], None]
) -> None:
    page.goto(f"{dashboard.url}/studies")
    unfold(page, "studies-new", "studies-state")
    expect(page.locator("#studies-space tbody tr").first).to_be_visible()
    pick(page, "studies-ready", "kd")
    wait_for(lambda: command(page)[3] == "kd")
    pick(page, "studies-method", "Decoupled (DKD)")
    wait_for(lambda: option(page, "--method") == "dkd")
    expect(page.get_by_label("Search method.beta", exact=True)).to_be_visible()
    type_choice(page, "studies-student", "vgg8")
    wait_for(lambda: option(page, "--student") == "vgg8")
    type_choice(page, "studies-teacher", f"run:{lived_in.teacher}")
    wait_for(lambda: option(page, "--teacher") == f"run:{lived_in.teacher}")
    page.get_by_role("button", name="Objective, sampler, pruning, other settings").click()
    for field, value, check in (
        ("name", "mine", lambda: command(page)[3] == "mine"),
        ("per-class", "12", lambda: "data.per_class=12" in command(page)),
        ("epochs", "3", lambda: option(page, "--epochs") == "3"),
        ("trials", "7", lambda: option(page, "--trials") == "7"),
        ("hours", "2", lambda: option(page, "--hours") == "2"),
        ("seeds", "2", lambda: option(page, "--seeds") == "2"),
        ("startup", "3", lambda: option(page, "--startup") == "3"),
        ("patience", "2", lambda: option(page, "--patience") == "2"),
        ("settings", "recipe.batch_size=32", lambda: "recipe.batch_size=32" in command(page)),
    ):
        fill(page, field, value)
        wait_for(check, lambda: shown_command(page, "studies-command"))
    pick(page, "studies-sampler", "random")
    wait_for(lambda: option(page, "--sampler") == "random")
    pick(page, "studies-goals", "calibration (ECE)")
    wait_for(lambda: option(page, "--metrics") == "accuracy,ece" and option(page, "--pruner") == "none")
    page.keyboard.press("Escape")
    box = page.get_by_label("Search method.beta", exact=True)
    ticked = box.is_checked()
    box.set_checked(not ticked)
    wait_for(lambda: ("method.beta" in shown_command(page, "studies-command")) != ticked)
    if ticked:
        box.set_checked(True)
    page.get_by_label("Range of method.beta", exact=True).fill("1..4")
    wait_for(lambda: "method.beta=1..4" in shown_command(page, "studies-command"))
    for field in ("ready", "method", "student", "teacher", "name", "per-class", "epochs", "trials", "hours", "seeds",
                  "startup", "patience", "settings", "sampler", "goals", "pruner", "space", "data"):  # fmt: skip
        used(f"studies-{field}")
    page.click("#studies-estimate")
    expect(page.locator("#studies-cost")).to_contain_text("14 runs of")

    # Another data set: the teacher stays, and that it does not know them is said when the study is begun.
    pick(page, "studies-data", "my images: 动物.zip")
    wait_for(lambda: option(page, "--dataset") == "folder")
    page.click("#studies-begin")
    expect(page.locator("#studies-problems")).to_contain_text("knows 10 classes")
    pick(page, "studies-data", "Digits")
    wait_for(lambda: option(page, "--dataset") == "digits")
    page.click("#studies-begin")
    expect(page.locator("#studies-chosen input")).to_have_value("mine")
    plan = control.view("mine", dashboard.workspace).plan
    assert plan.metrics == ("accuracy", "ece") and plan.budget.trials == 7 and plan.seeds == (0, 1)
    assert plan.experiment["teacher"]["run"] == lived_in.teacher and plan.experiment["student"]["name"] == "vgg8"
    page.click("#studies-stop")
    wait_for(lambda: JobStore(dashboard.workspace).get("study-mine").state.ended, "the end of the study")
