"""After all other tests of this folder: every event handler of every page ran, and every control was used.

They look at what those have left in the folder that ``KD_TEST_NOTES`` names: `make test-pages`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import texts
from noting import FAILED, HANDLERS, RAN
from playwright.sync_api import Browser

pytestmark = pytest.mark.counts

# Handlers that only the browser runs, and the test that asserts what they led to.
LED_TO = {
    "launch: tune.click": "test_launch_page.py: the address of Studies with the experiment",
    "launch: launch.click then": "test_launch_page.py: the address of the run",
    "runs: clone.click": "test_runs.py: the address of Launch with that run",
    "runs: to-inspect.click": "test_runs.py: the address of Inspect with that run",
    "runs: to-demo.click": "test_runs.py: the address of Demo with that run",
    "runs: log-download.click then": "test_runs.py: the file",
    "runs: ticked-csv.click then": "test_runs_table.py: the file",
    "compare: compare-all-columns.change": "test_compare.py: columns that can be seen",
    "studies: studies-promote.click": "test_studies.py: the address of Launch with that study",
    "inspect: inspect-fade.change": "test_inspect_page.py: maps that cannot be seen",
    "inspect: inspect-size.change": "test_inspect_page.py: the width of a tile",
    "inspect: inspect-present.click": "test_inspect_page.py: one image at a time",
    "demo: demo-run.input then": "test_demo.py: the address with the students",
    "inspect: inspect-png.click": "test_inspect_page.py: the file",
    "inspect: inspect-svg.click": "test_inspect_page.py: the file",
    "inspect: inspect-html.click then": "test_inspect_page.py: the file",
    "inspect: inspect-npz.click then": "test_inspect_page.py: the file",
}
# The page's own address follows each of these; test_inspect_page.py asserts it for run, view and epoch.
ADDRESS = "inspect: "


def test_every_handler_ran_and_every_control_was_used(notes: Path) -> None:
    handlers = json.loads((notes / HANDLERS).read_text())
    ran = set((notes / RAN).read_text().splitlines())
    used_file = notes / "used.txt"
    used = set(used_file.read_text().splitlines()) if used_file.exists() else set()
    missed = []
    for handler in handlers:
        if handler["browser"]:
            follows_address = handler["name"].startswith(ADDRESS) and handler["name"].endswith(" then")
            if handler["name"] not in LED_TO and not follows_address:
                missed.append(handler["name"])
        elif handler["key"] not in ran and not _seen(handler, ran, used):
            missed.append(handler["name"])
    assert not missed, f"{len(missed)} of {len(handlers)} never reached:\n" + "\n".join(sorted(missed))


def _seen(handler: dict[str, object], ran: set[str], used: set[str]) -> bool:
    """Whether a handler of many controls ran at all, and the effect of this control of it was asserted by a test.

    A page asks once for all changes that come while an answer is awaited, so the server does not see each of them. The
    settings of single methods and networks are all gone through by tests/app/test_launch_form.py.
    """
    number, _, block = str(handler["key"]).partition(" ")
    control = str(handler["control"])
    own_setting = control.startswith("field-") and not control.startswith(("field-recipe", "field-runtime"))
    return bool(block) and any(key.startswith(f"{number} ") for key in ran) and (control in used or own_setting)


def test_no_page_showed_a_text_that_is_not_in_the_catalogue(notes: Path, browser: Browser) -> None:
    """A language would leave it in English: its key belongs into app/languages."""
    page = browser.new_page()
    found = texts.noted(notes)
    assert len(found) > 1000, "the tests of this folder showed what there is"
    assert [text for text in texts.outside(page, found) if not texts.is_a_name(text)] == []
    page.close()


def test_no_handler_failed_in_a_way_that_no_page_expects(notes: Path) -> None:
    failed = notes / FAILED
    assert not failed.exists(), failed.read_text()
