"""The whole way in a real browser: launch by clicks, watch, close the tab, reopen, stop, resume, classify a picture."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from clicks import enter
from dashboard import Dashboard
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from support import PATIENCE_S

from kdengine import tracking
from kdengine.data import load_dataset
from kdengine.jobs import JobStore, ensure_supervisor
from kdengine.launch import launch
from kdengine.spec import ExperimentSpec
from kdengine.states import State

pytestmark = pytest.mark.browser

POINTS = """() => (document.querySelector('#accuracy-plot .js-plotly-plot')?.data || [])
    .map(trace => [trace.name, Array.from(trace.y)])"""


def set_number(page: Page, field: str, value: str) -> None:
    page.fill(f"#field-{field} input", value)
    page.keyboard.press("Tab")


def pick(page: Page, field: str, label: str) -> None:
    page.click(f"#field-{field} input")
    page.get_by_role("option", name=label, exact=True).click()


def wait_for(condition):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"it did not come about within {PATIENCE_S} s")


def launch_a_run(page: Page, dashboard: Dashboard, epochs: str) -> str:
    """Clicks together a resnet20 alone on digits; returns the run id."""
    page.goto(dashboard.url)
    expect(page.locator("#command")).to_contain_text("kd train")
    pick(page, "method-name", "Student alone")
    expect(page.locator("#teacher-card")).to_contain_text("teaches without a teacher")
    pick(page, "student-name", "resnet20")
    set_number(page, "recipe-epochs", epochs)
    expect(page.locator("#command")).to_contain_text(f"--student resnet20 --method none --set recipe.epochs={epochs}")
    page.click("#launch")
    page.wait_for_url("**/runs?run=*")
    return re.search(r"run=([^&]+)", page.url).group(1)


def plotted(page: Page) -> list[float]:
    return next((values for name, values in page.evaluate(POINTS) if name == "student"), [])


def test_from_click_to_answer(dashboard: Dashboard, browser: Browser, page: Page, tmp_path: Path) -> None:
    store = JobStore(dashboard.workspace)
    page.goto(dashboard.url)
    expect(page.locator("#forecast .big")).to_be_visible()
    run_id = launch_a_run(page, dashboard, "16")
    folder = dashboard.workspace.run(run_id)

    # The curve moves.
    wait_for(lambda: len(plotted(page)) >= 2)
    first = len(plotted(page))
    wait_for(lambda: len(plotted(page)) > first)
    expect(page.locator("#run-state .kd-now")).to_have_text("running")

    # The tab is closed; the run goes on.
    page.context.close()
    before = len(list(folder.events("epoch")))
    wait_for(lambda: len(list(folder.events("epoch"))) > before)

    # Reopened in a fresh browser session: the same run within two seconds of the page being there.
    fresh = enter(browser, dashboard).new_page()
    fresh.set_default_timeout(1000 * PATIENCE_S)
    fresh.goto(f"{dashboard.url}/runs?run={run_id}")
    expect(fresh.locator("#run-state .kd-now")).to_have_text("running")
    wait_for(lambda: len(plotted(fresh)) >= before)

    # Stop: a checkpoint is written first.
    fresh.click("#stop")
    expect(fresh.locator("#run-state .kd-now")).to_have_text("stopped")
    assert store.get(run_id).state == State.STOPPED
    assert folder.last_checkpoint.is_file()
    assert folder.status()["exit_code"] == 143
    done = folder.status()["progress"]["epoch"]
    assert 0 < done < 16

    # Resume, to the end.
    fresh.click("#resume")
    expect(fresh.locator("#run-state .kd-now")).to_have_text("finished")
    assert folder.status()["attempt"] == 2

    # What the page shows is what job store, events and MLflow hold.
    events = folder.latest("epoch", "epoch")
    assert [event["epoch"] for event in events] == list(range(1, 17))
    shown = wait_for(lambda: plotted(fresh) if len(plotted(fresh)) == 16 else None)
    assert shown == pytest.approx([100 * event["validation"]["accuracy"] for event in events])
    assert store.get(run_id).state == State.FINISHED
    test = folder.status()["test"]["best"]["accuracy"]
    expect(fresh.locator("#run-state")).to_contain_text(f"{100 * test:.1f} %")
    client = tracking._client(dashboard.workspace)
    twin = wait_for(lambda: tracking.mlflow_run_id(folder))
    assert client.get_run(twin).info.status == "FINISHED"
    history = sorted(client.get_metric_history(twin, "validation.accuracy"), key=lambda metric: metric.step)
    assert [100 * metric.value for metric in history] == pytest.approx(shown)
    assert client.get_run(twin).data.metrics["test.best.accuracy"] == pytest.approx(test)

    # The log is handed out at the first click.
    with fresh.expect_download() as download:
        fresh.click("#log-download")
    assert download.value.path().read_text() == folder.log_file.read_text()

    # An uploaded PNG is classified.
    bundle = load_dataset("digits", dashboard.workspace.datasets, 16, cache=dashboard.workspace.cache)
    picture = tmp_path / "four.png"
    index = next(i for i, label in enumerate(bundle.test.labels) if bundle.classes[label] == "4")
    Image.fromarray(bundle.test.pictures([index])[0]).save(picture)
    fresh.click("#to-demo")
    fresh.wait_for_url("**/demo?run=*")
    expect(fresh.locator("#demo-run .token")).to_contain_text("resnet20")
    fresh.set_input_files("#demo-picture input[type=file]", picture)
    card = fresh.locator(".kd-answer.student")
    expect(card).to_be_visible()
    from kdengine.evaluation.classifier import Classifier, open_picture

    answer = Classifier(folder)(open_picture(picture))
    assert [line.split("\n")[0] for line in card.locator(".row").all_inner_texts()] == [name for name, _ in answer.top]
    expect(card.locator(".row").first).to_contain_text(f"{100 * answer.top[0][1]:.1f} %")
    assert "ms" in card.inner_text() and "MB" in card.inner_text()
    fresh.context.close()


def test_teacher_and_student_side_by_side_from_one_click(dashboard: Dashboard, page: Page) -> None:
    """A teacher given by name is a job of its own that the student's job waits for."""
    page.goto(dashboard.url)
    expect(page.locator("#command")).to_contain_text("kd train")
    pick(page, "teacher", "train first: resnet20")
    pick(page, "student-name", "resnet20")
    set_number(page, "recipe-epochs", "2")
    expect(page.locator("#command")).to_contain_text("recipe.epochs=2")
    page.click("#launch")
    page.wait_for_url("**/runs?run=*")
    run_id = re.search(r"run=([^&]+)", page.url).group(1)
    job = JobStore(dashboard.workspace).get(run_id)
    assert job.after and JobStore(dashboard.workspace).get(job.after).student == "resnet20"
    expect(page.locator("#run-state .kd-now")).to_have_text("finished")
    page.click("#to-demo")
    page.wait_for_url("**/demo?run=*")
    expect(page.locator("#demo-run .token")).to_contain_text("resnet20")
    page.click("#demo-sample")
    expect(page.locator(".kd-answer.student")).to_be_visible()
    expect(page.locator(".kd-answer.teacher")).to_be_visible()
    spec = ExperimentSpec.from_yaml(dashboard.workspace.run(run_id).spec_file.read_text())
    assert spec.teacher is not None and spec.teacher.spec is not None


def test_a_double_click_is_one_job(dashboard: Dashboard, page: Page) -> None:
    page.goto(dashboard.url)
    expect(page.locator("#command")).to_contain_text("kd train")
    pick(page, "method-name", "Student alone")
    set_number(page, "recipe-epochs", "1")
    expect(page.locator("#command")).to_contain_text("recipe.epochs=1")
    before = len(JobStore(dashboard.workspace).jobs())
    page.dblclick("#launch")
    page.wait_for_url("**/runs?run=*")
    time.sleep(1.0)
    assert len(JobStore(dashboard.workspace).jobs()) == before + 1


def test_problems_stand_at_their_fields_and_no_job_comes_of_them(dashboard: Dashboard, page: Page) -> None:
    page.goto(dashboard.url)
    expect(page.locator("#command")).to_contain_text("kd train")
    before = len(JobStore(dashboard.workspace).jobs())
    set_number(page, "recipe-batch_size", "5000")
    set_number(page, "recipe-lr", "-1")
    expect(page.locator("#field-recipe-lr")).to_contain_text("greater than 0")
    expect(page.locator("#launch")).to_be_disabled()
    set_number(page, "recipe-lr", "0.05")
    expect(page.locator("#field-recipe-batch_size")).to_contain_text("larger than the")
    expect(page.locator("#launch")).to_have_text("1 problem to mend")
    expect(page.locator("#launch")).to_be_disabled()
    set_number(page, "recipe-batch_size", "64")
    expect(page.locator("#launch")).to_be_enabled()
    expect(page.locator("#launch")).to_have_text("Launch")
    assert len(JobStore(dashboard.workspace).jobs()) == before


def test_clone_fills_the_form_with_the_run(dashboard: Dashboard, page: Page) -> None:
    spec = ExperimentSpec.from_mapping(
        {
            "student": "resnet20",
            "method": {"name": "byot", "alpha": 0.45},
            "recipe": {"epochs": 3, "lr": 0.07},
            "seed": 5,
        }
    )
    from kdengine.runner import create

    run = create(spec, dashboard.workspace)
    page.goto(f"{dashboard.url}/?clone={run.id}")
    expect(page.locator("#command")).to_contain_text("--method byot")
    expect(page.locator("#command")).to_contain_text("seed=5")
    page.get_by_role("tab", name="YAML").click()
    expect(page.locator("#yaml")).to_contain_text("alpha: 0.45")
    assert "".join(page.locator("#command .cm-line").all_inner_texts()) in (spec.command(), "")


def test_a_killed_page_server_comes_back_to_the_same_run(dashboard: Dashboard, page: Page) -> None:
    spec = ExperimentSpec.from_mapping({"student": "resnet20", "method": "none", "recipe": {"epochs": 60}})
    run_id = launch(spec, dashboard.workspace)[-1].id
    ensure_supervisor(dashboard.workspace)
    page.goto(f"{dashboard.url}/runs?run={run_id}")
    expect(page.locator("#run-state .kd-now")).to_have_text("running")
    dashboard.kill()
    process = dashboard.workspace.run(run_id).status()["process"]
    dashboard.start()
    page.goto(f"{dashboard.url}/runs?run={run_id}")
    expect(page.locator("#run-state .kd-now")).to_have_text("running")
    assert dashboard.workspace.run(run_id).status()["process"] == process
    page.click("#stop")
    expect(page.locator("#run-state .kd-now")).to_have_text("stopped")
    page.click("#delete")
    page.click("#delete-sure")
    wait_for(lambda: JobStore(dashboard.workspace).find(run_id) is None)
    assert not dashboard.workspace.run(run_id).path.exists()


def test_a_file_that_is_no_picture_gets_one_clear_sentence(dashboard: Dashboard, page: Page, tmp_path: Path) -> None:
    fake = tmp_path / "holiday.png"
    fake.write_bytes(b"not a picture at all")
    page.goto(f"{dashboard.url}/demo")
    expect(page.locator("#demo-run .token")).to_be_visible()
    page.set_input_files("#demo-picture input[type=file]", fake)
    expect(page.locator("#demo-answers")).to_contain_text("holiday.png is not a picture")
