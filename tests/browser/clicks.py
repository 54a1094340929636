"""What a person does on a page, in words that several tests share."""

from __future__ import annotations

import argparse
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import texts
from dashboard import Dashboard
from playwright.sync_api import Browser, BrowserContext, Page, expect
from support import PATIENCE_S

from kdengine.commands import train
from kdengine.spec import ExperimentSpec


class Clicks:
    """A person's clicks on a page, counted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.count = 0

    def __call__(self, selector: str) -> None:
        self.count += 1
        self.page.click(selector)


def wait_for(condition: Callable[[], Any], what: str | Callable[[], str] = "it") -> Any:
    """What the condition returns, once that is true; ``what`` says in words what was waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.03)
    said = what() if callable(what) else what
    raise AssertionError(f"{said} did not come about within {PATIENCE_S} s")


def fill(page: Page, element: str, value: str) -> None:
    """Types into the field with that element id and leaves it."""
    page.locator(f"#{element} input, #{element} textarea").first.fill(value)
    page.keyboard.press("Tab")


def pick(page: Page, element: str, label: str) -> None:
    """Chooses from a list: its own, for the list of another control may still be closing."""
    page.click(f"#{element} input")
    page.locator(f"#{element}").get_by_role("option", name=label, exact=True).click()


def type_choice(page: Page, element: str, value: str) -> None:
    """Types what is not in the list."""
    page.fill(f"#{element} input", value)
    page.keyboard.press("Enter")


def shown_command(page: Page, element: str = "command") -> str:
    """The command that the page shows."""
    lines = page.evaluate(
        "id => Array.from(document.querySelectorAll(`#${id} .cm-line`)).map(line => line.textContent)", element
    )
    return "".join(lines)


def commanded(page: Page) -> ExperimentSpec | None:
    """The experiment that the command on the Launch page makes; None while it shows none."""
    words = shlex.split(shown_command(page), comments=True)
    if words[:2] != ["kd", "train"]:
        return None
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return ExperimentSpec.from_mapping(train.read_experiment(parser.parse_args(words[2:])))


def commanded_value(page: Page, path: str) -> Any:
    """One setting of that experiment."""
    spec = commanded(page)
    return None if spec is None else spec.flat().get(path)


def open_launch(page: Page, url: str, query: str = "") -> None:
    """The Launch page, once it has said what it shows."""
    page.goto(f"{url}/launch{query}")
    expect(page.locator("#command")).to_contain_text("kd train")


def unfold(page: Page, part: str, state: str) -> None:
    """Opens a part of the page that is folded on arrival, once that element tells that the page has arrived."""
    expect(page.locator(f"#{state}")).not_to_contain_text("Loading")
    page.click(f"#{part} > button")


def id_in_address(page: Page) -> str:
    """The run in the page's address."""
    found = re.search(r"[?&](?:run|clone)=([^&]+)", page.url)
    assert found, page.url
    return found.group(1)


@contextmanager
def tab(context: BrowserContext) -> Iterator[Page]:
    """A page of the browser, which is closed at the end; an error in the page's own scripts fails the test."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
    finally:
        page.close()
    assert not errors, errors


def enter(browser: Browser, dashboard: Dashboard, **options: Any) -> BrowserContext:
    """A window with nothing remembered but that it has opened the dashboard's address with the token."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(1000 * PATIENCE_S)
    if dashboard.notes is not None:
        texts.note(context, dashboard.notes)
    context.request.get(dashboard.entry, max_redirects=0)
    return context


def come_anew(page: Page, dashboard: Dashboard) -> None:
    """As whoever opens the dashboard for the first time: the window forgets what it kept, but for the files of the
    pages, which are the same for everybody, and opens the address with the token."""
    page.context.clear_cookies()
    session = page.context.new_cdp_session(page)
    session.send("Storage.clearDataForOrigin", {"origin": dashboard.url, "storageTypes": "local_storage"})
    session.detach()
    page.context.request.get(dashboard.entry, max_redirects=0)
