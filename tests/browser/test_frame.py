"""The bar of every page and what holds for all of them: theme, machine, help, titles, widths, accessibility."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from clicks import wait_for
from dashboard import Dashboard
from lived_in import LivedIn
from playwright.sync_api import Page, expect

from app import frame
from app.frame import PAGES

pytestmark = pytest.mark.browser

SETTLE_MS, FADE_MS = 1500, 400
MAX_SHIFT = 0.1
GRADIOS_OWN = [[".toast-wrap"], [".empty"]]  # a notice with a button in a button; a plot before it has one
IS_DARK = "document.body.classList.contains('dark')"
SHIFTED = """() => new Promise(done => {
  let sum = 0;
  new PerformanceObserver(list => list.getEntries().forEach(each => { if (!each.hadRecentInput) sum += each.value; }))
    .observe({type: 'layout-shift', buffered: true});
  setTimeout(() => done(sum), 300);
})"""


def opened(page: Page, dashboard: Dashboard, path: str) -> None:
    """The page, once the browser has drawn it and what it asks on arrival was answered."""
    page.goto(f"{dashboard.url}/{path}")
    expect(page.locator(".kd-machine span").first).to_be_visible()
    page.wait_for_timeout(SETTLE_MS)


def test_the_chosen_theme_stays_and_is_that_of_every_page(dashboard: Dashboard, page: Page) -> None:
    opened(page, dashboard, "")
    assert not page.evaluate(IS_DARK)
    theme = page.locator("[data-kd-theme]")
    for name, dark in (("light", False), ("dark", True)):
        theme.click()
        expect(theme).to_have_attribute("aria-label", f"Theme: {name}")
        wait_for(lambda dark=dark: page.evaluate(IS_DARK) is dark)
    page.get_by_role("link", name="Compare", exact=True).click()
    expect(theme).to_have_attribute("aria-label", "Theme: dark")
    wait_for(lambda: page.evaluate(IS_DARK))
    theme.click()
    wait_for(lambda: not page.evaluate(IS_DARK), "what the system prefers")
    page.emulate_media(color_scheme="dark")
    wait_for(lambda: page.evaluate(IS_DARK), "the system prefers another one now")


@pytest.mark.parametrize("each", PAGES, ids=lambda each: each.name)
def test_every_page_says_where_one_is_fits_and_is_accessible(
    dashboard: Dashboard, page: Page, each: frame.Page
) -> None:
    opened(page, dashboard, each.path)
    expect(page.locator("header nav [aria-current]")).to_have_text(each.name)
    expect(page).to_have_title(re.compile(each.name, re.IGNORECASE))
    expect(page.locator(".kd-machine")).to_contain_text(re.compile("CPU|GPU"))
    assert page.evaluate(SHIFTED) < MAX_SHIFT
    page.get_by_role("button", name="Help").click()
    expect(page.get_by_role("heading", name=each.question)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#kd-help")).to_be_hidden()
    assert violations(page) == []
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    wait_for(lambda: page.evaluate(IS_DARK))
    page.wait_for_timeout(FADE_MS)
    assert violations(page) == []
    for width in (1920, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    opened(page, dashboard, each.path)
    assert page.evaluate(SHIFTED) < MAX_SHIFT


def test_a_chosen_run_is_accessible(dashboard: Dashboard, lived_in: LivedIn, page: Page) -> None:
    opened(page, dashboard, f"runs?run={lived_in.taught}")
    expect(page.locator("#run-state")).to_contain_text("finished")
    assert violations(page) == []


def violations(page: Page) -> list[tuple[str, list[object]]]:
    """What axe-core finds: names of controls, contrast, order of headings, landmarks, ..."""
    found = Axe().run(page, context={"exclude": GRADIOS_OWN}).response["violations"]
    return [(each["id"], [node["target"] for node in each["nodes"]]) for each in found]
