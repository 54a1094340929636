"""The Runs page shows and acts on the run that was asked for, never on the newest in its place."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from archives import as_folder, image_files
from clicks import commanded, commanded_value, enter, shown_command, wait_for
from dashboard import Dashboard
from lived_in import LivedIn
from playwright.sync_api import Browser, Page, Route, expect
from support import tiny_spec

from kdengine import tracking
from kdengine.assembly.launch import launch
from kdengine.jobs import JobStore, ensure_supervisor, supervisor_alive, supervisor_identity
from kdengine.jobs.remedies import Remedy, address, remedies
from kdengine.jobs.settings import jobs_per_gpu
from kdengine.runner import create
from kdengine.spec import ExperimentSpec, merge
from kdengine.tracking.server import client_of
from kdengine.workspace.rundir import short_id
from kdengine.workspace.states import State

pytestmark = pytest.mark.browser

CHOSEN = (
    "() => [...document.querySelectorAll('#inspect-run input, #demo-run .token')].map(e => e.value ?? e.textContent)"
)


def open_runs(page: Page, dashboard: Dashboard, run_id: str = "") -> None:
    page.goto(f"{dashboard.url}/runs" + (f"?run={run_id}" if run_id else ""))
    expect(page.locator("#runs-table tr[data-run]").first).to_be_visible()


def choose(page: Page, run_id: str) -> None:
    page.click(f'#runs-table tr[data-run="{run_id}"]')
    expect(page.locator("#run-state .id")).to_contain_text(run_id)


@pytest.fixture
def long_run(dashboard: Dashboard) -> str:
    """A run under way that ends by itself only after many minutes."""
    spec = tiny_spec(recipe={"epochs": 2000}, title="long", seed=int(time.time()) % 100_000)
    ensure_supervisor(dashboard.workspace)
    return launch(spec, dashboard.workspace)[-1].id


def state_is(page: Page, state: str) -> None:
    expect(page.locator("#run-state .kd-now")).to_have_text(state)


def test_a_run_is_chosen_and_back_leads_to_the_one_before(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    open_runs(page, dashboard)
    expect(page.locator("#run-state .id")).to_contain_text("by ")
    shown_by_itself = page.locator("#run-state .id").inner_text()
    choose(page, lived_in.taught)
    choose(page, lived_in.own)
    expect(page.locator("#run-state h2")).to_have_text("alpha")
    page.go_back()
    assert page.url == f"{dashboard.url}/runs?run={lived_in.taught}"
    expect(page.locator("#run-state .id")).to_contain_text(lived_in.taught)
    page.go_forward()
    expect(page.locator("#run-state .id")).to_contain_text(lived_in.own)
    page.go_back()
    page.go_back()
    assert page.url == f"{dashboard.url}/runs"
    expect(page.locator("#run-state .id")).to_have_text(shown_by_itself)


def test_of_two_quick_clicks_the_later_counts_though_it_is_heard_first(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    open_runs(page, dashboard)
    expect(page.locator("#run-state .id")).to_contain_text("by ")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route) if '"at":' in (route.request.post_data or "") else route.continue_()

    page.route("**/queue/join*", hold)
    for run_id in (lived_in.taught, lived_in.own):
        page.click(f'#runs-table tr[data-run="{run_id}"]')
    wait_for(lambda: (page.wait_for_timeout(20), len(held) == 2)[1], "two clicks under way")
    for route, heard in ((held[1], lived_in.own), (held[0], lived_in.own)):
        with page.expect_response("**/queue/join*"):
            route.continue_()
        expect(page.locator("#run-state .id")).to_contain_text(heard)
    page.wait_for_timeout(3000)  # more than one look of the page
    expect(page.locator("#run-state .id")).to_contain_text(lived_in.own)
    page.click("#clone")
    page.wait_for_url(f"**/launch?clone={lived_in.own}")


def test_a_name_of_ones_own_stands_wherever_the_run_is(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    open_runs(page, dashboard)
    expect(page.locator(f'tr[data-run="{lived_in.taught}"]')).to_contain_text("gamma")
    page.goto(f"{dashboard.url}/inspect?run={lived_in.taught}")
    expect(page.locator("#inspect-run input")).to_have_value(re.compile("^gamma"))
    page.goto(f"{dashboard.url}/demo?run={lived_in.taught}")
    expect(page.locator("#demo-run .token")).to_contain_text("gamma")


@pytest.mark.parametrize("which", ["own", "outside"])
def test_clone_fills_launch_with_that_run(dashboard: Dashboard, lived_in: LivedIn, page: Page, which: str) -> None:
    run_id = getattr(lived_in, which)
    open_runs(page, dashboard)
    choose(page, run_id)
    page.click("#clone")
    page.wait_for_url(f"**/launch?clone={run_id}")
    spec = ExperimentSpec.from_yaml(lived_in.workspace.run(run_id).spec_file.read_text())
    expect(page.locator("#arrival")).to_contain_text(f"filled from run {short_id(run_id)}")
    wait_for(lambda: commanded(page) == spec, lambda: f"{shown_command(page)} for {spec.command()}")
    expect(page.locator("#launch")).to_be_enabled()
    page.go_back()
    expect(page.locator("#run-state .id")).to_contain_text(run_id)


def test_a_run_without_memory_leads_to_launch_with_what_would_fit(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    spec = tiny_spec(title="large", recipe={"batch_size": 64})
    folder = create(spec, lived_in.workspace, "without-memory")
    found = remedies("oom_gpu", spec.model_dump(mode="json"), precisions=["bf16"])
    told = {"reason": "oom_gpu", "message": "2.0 GiB more were needed", "advice": "", "exit_code": 3}
    folder.update_status(state=State.FAILED, ended=time.time(), remedies=found, **told)
    store = JobStore(lived_in.workspace)
    store.adopt(folder)
    try:
        open_runs(page, dashboard, folder.id)
        state_is(page, "failed")
        expect(page.locator("#run-state .kd-failure")).to_contain_text("2.0 GiB more were needed")
        expect(page.locator("#run-state .kd-remedies a")).to_have_count(2)
        page.get_by_role("link", name="Launch with half the batch, 32 for 64").click()
        expect(page.locator("#arrival")).to_contain_text(f"filled from run {short_id(folder.id)}")
        wanted = ExperimentSpec.from_mapping(merge(spec.model_dump(mode="json"), {"recipe": {"batch_size": 32}}))
        wait_for(lambda: commanded(page) == wanted, lambda: f"{shown_command(page)} for {wanted.command()}")
        expect(page.locator("#launch")).to_be_enabled()
        page.goto(f"{dashboard.url}{address(folder.id, both(found))}")
        wait_for(lambda: commanded_value(page, "runtime.precision") == "bf16", "the second change of an address")
        assert commanded_value(page, "recipe.batch_size") == 32
    finally:
        tracking.delete_run(store, folder.id)


def both(found: list[Remedy]) -> Remedy:
    """Two changes in one."""
    return {**found[0], "set": found[0]["set"] | found[1]["set"]}


@pytest.mark.parametrize("which", ["own", "outside"])
def test_inspect_and_demo_open_that_run(dashboard: Dashboard, lived_in: LivedIn, page: Page, which: str) -> None:
    run_id = getattr(lived_in, which)
    open_runs(page, dashboard, run_id)
    page.click("#to-inspect")
    page.wait_for_url(re.compile(rf"/inspect\?run={run_id}"))
    expect(page.locator("#inspect-run input")).to_have_value(re.compile(rf"\[{short_id(run_id)}\]$"))
    expect(page.locator("#inspect-arrival")).to_have_text("")
    open_runs(page, dashboard, run_id)
    page.click("#to-demo")
    page.wait_for_url(f"**/demo?run={run_id}")
    expect(page.locator("#demo-run .token")).to_have_count(1)
    expect(page.locator("#demo-run .token")).to_contain_text(f"[{short_id(run_id)}]")


@pytest.mark.parametrize(
    ("address", "place", "said"),
    [
        ("/runs?run=nobody", "#run-state", "There is no run nobody"),
        ("/?clone=nobody", "#arrival", "there is no run 'nobody'"),
        ("/?study=nobody", "#arrival", "nobody"),
        ("/inspect?run=nobody", "#inspect-arrival", "There is no run 'nobody'"),
        ("/demo?run=nobody", "#demo-arrival", "There is no run 'nobody'"),
        ("/compare?name=nobody", "#compare-refused", "There is no comparison 'nobody'"),
        ("/studies?name=nobody", "#studies-refused", "There is no study 'nobody'"),
    ],
)
def test_an_unknown_name_in_an_address_is_said_and_nothing_shown_in_its_place(
    dashboard: Dashboard, lived_in: LivedIn, page: Page, address: str, place: str, said: str
) -> None:
    page.goto(dashboard.url + address)
    expect(page.locator(place)).to_contain_text(said)
    body = page.locator("body").inner_text()
    chosen = page.evaluate(CHOSEN)
    assert not any(chosen), chosen
    assert "/runs" in address or not any(f"[{short_id(run)}]" in body for run in lived_in.all)


def test_what_is_shown_is_what_was_recorded(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    folder = lived_in.workspace.run(lived_in.taught)
    open_runs(page, dashboard, lived_in.taught)
    wanted = [100 * event["validation"]["accuracy"] for event in folder.latest("epoch", "epoch")]
    wait_for(lambda: plotted(page, "run-curves").get("student") == pytest.approx(wanted), "the accuracy")
    status = folder.status()
    expect(page.locator("#run-state")).to_contain_text(f"{100 * status['test']['best']['accuracy']:.1f} %")
    teacher = lived_in.workspace.run(lived_in.teacher).status()
    expect(page.locator("#run-state")).to_contain_text(f"teacher {100 * teacher['test']['best']['accuracy']:.1f} %")
    steps = folder.latest("step", "step")
    for kind in ("weighted", "raw"):
        page.get_by_label(kind, exact=True).check()
        terms = {name.replace("_", " "): [step["terms"][name][kind] for step in steps] for name in steps[0]["terms"]}
        wait_for(lambda terms=terms: _alike(plotted(page, "run-curves"), terms), f"the {kind} loss terms {terms}")
    client = client_of(lived_in.workspace)
    twin = tracking.mlflow_run_id(folder)
    history = sorted(client.get_metric_history(twin, "validation.accuracy"), key=lambda metric: metric.step)
    assert [100 * metric.value for metric in history] == pytest.approx(wanted)
    page.click("#log-download")
    expect(page.locator("#run-refused")).to_contain_text("no log")


def plotted(page: Page, plot: str) -> dict[str, list[float]]:
    return page.evaluate(
        "id => Object.fromEntries((document.querySelector(`#${id} .js-plotly-plot`)?.data || [])"
        ".map(trace => [trace.name, Array.from(trace.y)]))",
        plot,
    )


def _alike(shown: dict[str, list[float]], wanted: dict[str, list[float]]) -> bool:
    return all(shown.get(name) == pytest.approx(values, rel=1e-6) for name, values in wanted.items())


def test_stop_resume_kill_and_delete(dashboard: Dashboard, long_run: str, page: Page) -> None:
    store, folder = JobStore(dashboard.workspace), dashboard.workspace.run(long_run)
    open_runs(page, dashboard, long_run)
    state_is(page, "running")
    wait_for(lambda: folder.last_checkpoint.is_file())
    page.click("#stop")
    state_is(page, "stopped")
    assert folder.status()["exit_code"] == 143
    with page.expect_download() as download:
        page.click("#log-download")
    assert download.value.path().read_text() == folder.log_file.read_text()
    page.click("#resume")
    state_is(page, "running")
    # A process that is halted cannot heed a request to stop: one that can may have ended before Kill is shown.
    os.kill(folder.status()["process"]["pid"], signal.SIGSTOP)
    page.click("#stop")
    page.click("#kill")
    wait_for(lambda: store.get(long_run).state.ended)
    page.click("#delete")
    page.click("#delete-keep")
    expect(page.locator("#delete-sure")).to_be_hidden()
    page.click("#delete")
    page.click("#delete-sure")
    wait_for(lambda: store.find(long_run) is None)
    assert not folder.path.exists()
    expect(page.locator("#run-state")).to_contain_text("Choose a run")


def test_a_run_whose_data_changed_says_so_and_goes_on_when_that_is_asked_for(
    dashboard: Dashboard, page: Page, tmp_path: Path
) -> None:
    folder = as_folder(tmp_path / "mine", image_files({"cat": 30, "dog": 30}))
    spec = tiny_spec(recipe={"epochs": 2000, "batch_size": 8}).model_dump(mode="json")
    spec |= {"data": {"name": "folder", "path": str(folder), "image_size": 16}}
    ensure_supervisor(dashboard.workspace)
    run_id = launch(ExperimentSpec.from_mapping(spec), dashboard.workspace)[-1].id
    open_runs(page, dashboard, run_id)
    state_is(page, "running")
    expect(page.locator("#accept")).to_be_hidden()
    wait_for(dashboard.workspace.run(run_id).last_checkpoint.is_file)
    page.click("#stop")
    state_is(page, "stopped")
    as_folder(folder, image_files({"cat": 40}, seed=1))
    page.click("#resume")
    state_is(page, "failed")
    expect(page.locator("#run-state")).to_contain_text("70 images")
    page.click("#accept")
    state_is(page, "running")
    page.click("#stop")
    state_is(page, "stopped")


def test_the_queue_is_put_in_another_order_and_a_started_job_says_why_it_cannot(
    dashboard: Dashboard, long_run: str, page: Page
) -> None:
    store = JobStore(dashboard.workspace)
    wait_for(lambda: store.get(long_run).state == State.RUNNING)
    waiting = [launch(tiny_spec(seed=700 + n), dashboard.workspace)[-1].id for n in range(2)]
    open_runs(page, dashboard, waiting[1])
    page.click("#up")
    wait_for(lambda: [job.id for job in store.jobs([State.QUEUED])] == waiting[::-1])
    page.click("#down")
    wait_for(lambda: [job.id for job in store.jobs([State.QUEUED])] == waiting)
    page.route("**/queue/join*", lambda route: None)  # the click is made before the jobs are cancelled, heard after it
    page.click("#up")
    for job in waiting:
        store.cancel(job)
    page.unroute("**/queue/join*")  # which lets go what was held
    expect(page.locator("#run-refused")).to_contain_text("only a queued job can be moved")
    store.request_kill(long_run)
    wait_for(lambda: store.get(long_run).state.ended)


def test_a_dead_supervisor_is_started_again_by_the_page(dashboard: Dashboard, long_run: str, page: Page) -> None:
    store = JobStore(dashboard.workspace)
    open_runs(page, dashboard, long_run)
    state_is(page, "running")
    identity = supervisor_identity(dashboard.workspace)
    assert identity is not None
    os.kill(identity["pid"], signal.SIGKILL)
    page.click("#stop")
    state_is(page, "stopped")
    assert supervisor_alive(dashboard.workspace) and store.get(long_run).state == State.STOPPED


def test_who_is_taught_by_a_run_is_said_before_it_is_deleted(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    open_runs(page, dashboard, lived_in.teacher)
    page.click("#delete")
    expect(page.locator("#delete-consequences")).to_contain_text("gamma")
    page.click("#delete-keep")
    open_runs(page, dashboard, lived_in.newest)
    page.click("#delete")
    expect(page.locator("#delete-sure")).to_be_visible()
    expect(page.locator("#delete-consequences")).to_have_text("")
    page.click("#delete-keep")


def test_a_closed_tab_and_a_killed_page_lose_nothing(
    dashboard: Dashboard, long_run: str, browser: Browser, page: Page
) -> None:
    open_runs(page, dashboard, long_run)
    state_is(page, "running")
    process = dashboard.workspace.run(long_run).status()["process"]
    page.close()
    dashboard.kill()
    dashboard.start()
    fresh = enter(browser, dashboard).new_page()
    fresh.goto(f"{dashboard.url}/runs?run={long_run}")
    state_is(fresh, "running")
    assert dashboard.workspace.run(long_run).status()["process"] == process
    fresh.click("#stop")
    state_is(fresh, "stopped")
    fresh.context.close()


def test_how_many_runs_share_a_gpu_is_set_on_the_page(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    open_runs(page, dashboard)
    page.click("#queue-box > button")
    said = page.locator("#jobs-per-gpu-said")
    expect(said).to_contain_text("One run per GPU now")
    for words, expected in (("3", "3 runs per GPU from"), ("99", "from 1 to 16"), ("", "One run per GPU from")):
        page.fill("#jobs-per-gpu input", words)
        page.keyboard.press("Tab")
        page.click("#jobs-per-gpu-set")
        expect(said).to_contain_text(expected)
        assert jobs_per_gpu(dashboard.workspace) == {"3": 3, "99": 3, "": None}[words]


def test_how_busy_the_machine_was_is_drawn_for_runs_that_tell_it(
    dashboard: Dashboard, lived_in: LivedIn, page: Page
) -> None:
    older, run = lived_in.own, dashboard.workspace.run(lived_in.taught)
    look = {
        **{"kind": "system", "cpu": 0.5, "cores": 1.0, "io": 0, "ram": 1, "ram_used": 2, "ram_total": 4},
        **{"disk_free": 1, "disk_total": 4, "gpu": {"use": 0.9, "used": 10, "total": 40, "processes": 1}},
    }
    for number in range(60):
        wave = {"use": 0.9 - number % 7 / 30, "used": 10 + number / 6, "total": 40, "processes": 1}
        run.append_event(look | {"time": 1000.0 + 5 * number, "cpu": 0.3 + number % 5 / 20, "gpu": wave})
    open_runs(page, dashboard, lived_in.taught)
    page.click("#system-box > button")
    legend = page.locator("#system-plot .legendtext")
    expect(legend).to_have_text(["GPU", "GPU memory", "CPU", "memory", "disk"])
    if folder := os.environ.get("KD_SCREENSHOTS"):
        page.wait_for_timeout(1000)
        page.screenshot(path=f"{folder}/runs-system.png", full_page=True)
    choose(page, older)
    expect(page.locator("#run-curves")).to_be_visible()
    expect(page.locator("#system-box")).not_to_be_visible()
