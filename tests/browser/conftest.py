"""A real page server, a real supervisor, and a real Chromium that looks at them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clicks import come_anew, enter, tab
from dashboard import Dashboard
from lived_in import LivedIn, live_in
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from support import PATIENCE_S, make_workspace

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # Pages of the browser itself, which it would load for the address bar of each new tab.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
]  # fmt: skip


expect.set_options(timeout=1000 * PATIENCE_S)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Instead of the watch of all tests: Chromium keeps helpers, and `Dashboard.close` ends what it began."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "no Chromium here: apt-get install chromium (`make test` does it where it may)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the dashboard notes which handlers ran: of all processes that test pages, in one folder that is named."""
    named = os.environ.get("KD_TEST_NOTES")
    if not named:
        return tmp_path_factory.mktemp("notes")
    Path(named).mkdir(parents=True, exist_ok=True)
    return Path(named)


@pytest.fixture(scope="session")
def used(notes: Path) -> Callable[[str], None]:
    """To be told a control whose effect a test has asserted, where the server cannot see that it was used."""

    def note(control: str) -> None:
        with (notes / "used.txt").open("a") as file:
            file.write(control + "\n")

    return note


@pytest.fixture(scope="session")
def lived_in(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> LivedIn:
    """A workspace with runs of which no default is the right one."""
    home = make_workspace(tmp_path_factory.mktemp("dashboard") / "home", furnished)
    return live_in(home, tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="session")
def dashboard(lived_in: LivedIn, notes: Path) -> Iterator[Dashboard]:
    """One dashboard for all tests: to start it takes longer than most of them."""
    dashboard = Dashboard(lived_in.workspace, notes=notes)
    dashboard.start()
    yield dashboard
    dashboard.close()


@pytest.fixture(scope="session")
def visit(browser: Browser, dashboard: Dashboard) -> Iterator[BrowserContext]:
    """One window for all tests: its programs are read and compiled once, which is half of what a page costs to open."""
    context = enter(browser, dashboard)
    yield context
    context.close()


@pytest.fixture
def page(visit: BrowserContext, dashboard: Dashboard) -> Iterator[Page]:
    """A fresh tab with nothing remembered; an error in the page's own scripts fails the test."""
    with tab(visit) as page:
        come_anew(page, dashboard)
        yield page
