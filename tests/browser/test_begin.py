"""The first page: every card leads to where its experiment is filled in, a few clicks from a running one."""

from __future__ import annotations

from pathlib import Path

import pytest
from clicks import commanded, id_in_address, wait_for
from dashboard import Dashboard
from lived_in import LivedIn, zip_of_images
from playwright.sync_api import Page, expect

from app import ready
from kdengine.jobs import JobStore

pytestmark = pytest.mark.browser


def stop(dashboard: Dashboard, run_id: str) -> None:
    """The run and what it waits for, so that other tests have the machine."""
    store = JobStore(dashboard.workspace)
    for job in store.jobs():
        if job.id == run_id or job.id == store.get(run_id).after:
            store.cancel(job.id) if job.state == "queued" else store.request_kill(job.id)
    wait_for(lambda: store.get(run_id).state.ended)


def test_a_paper_is_three_clicks_from_its_run(dashboard: Dashboard, page: Page) -> None:
    page.goto(dashboard.url)
    expect(page.locator('[data-minutes-of="demo"]')).to_contain_text("on this machine")
    page.get_by_role("link", name="Light self-distillation").click()
    page.wait_for_url("**/launch?ready=light_self")
    wait_for(lambda: commanded(page) == ready.ALL["light_self"].spec)
    expect(page.locator("#launch")).to_be_enabled()
    page.click("#launch")
    page.wait_for_url("**/runs?run=*")
    expect(page.locator("#run-state")).to_contain_text("resnet20_light")
    stop(dashboard, id_in_address(page))


def test_own_images_are_five_clicks_from_a_run(dashboard: Dashboard, page: Page, tmp_path: Path) -> None:
    archive = zip_of_images(tmp_path / "leaves.zip", ("oak", "elm", "ash"), count=20)
    page.goto(dashboard.url)
    page.get_by_role("link", name="My images").click()
    page.set_input_files("#upload-data input[type=file]", archive)  # two clicks: the field, and the file in its dialog
    expect(page.locator("#upload-outcome")).to_contain_text("leaves.zip is stored")
    wait_for(lambda: (spec := commanded(page)) is not None and spec.data.name == "folder")
    expect(page.locator("#launch")).to_be_enabled()
    page.click("#launch")
    page.wait_for_url("**/runs?run=*")
    stop(dashboard, id_in_address(page))


def test_a_teacher_of_ones_own_has_its_panel_open(dashboard: Dashboard, page: Page) -> None:
    page.goto(dashboard.url)
    page.get_by_role("link", name="I have a teacher").click()
    expect(page.locator("#own-teacher-import")).to_be_visible()
    expect(page.locator("#upload-data")).to_be_hidden()


def test_what_was_last_used_is_a_click_away(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    page.goto(dashboard.url)
    last = page.locator("#begin-last tbody tr")
    expect(last.first).to_be_visible()
    newest = max((job for job in JobStore(dashboard.workspace).jobs()), key=lambda job: job.submitted)
    expect(last.first.get_by_role("link").first).to_have_attribute("href", f"/runs?run={newest.id}")
