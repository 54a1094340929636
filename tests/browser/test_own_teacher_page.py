"""One's own teacher by clicks: a pickle refused, weights taken and mended, and a bad pair warned of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from abroad import train_abroad
from dashboard import Dashboard
from playwright.sync_api import Page, expect

from kdengine.data import load_dataset

PATIENCE = 60_000.0  # milliseconds
pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_teacher_is_imported_by_clicks(dashboard: Dashboard, page: Page, tmp_path: Path) -> None:
    home = dashboard.workspace
    abroad = train_abroad(load_dataset("digits", home.datasets, 16, cache=home.cache), tmp_path)
    torch.save(abroad.net.state_dict(), tmp_path / "net.pth")
    permuted = abroad.permuted(tmp_path, [9, 0, 1, 2, 3, 4, 5, 6, 7, 8])

    page.goto(dashboard.url)
    expect(page.locator("#command")).to_contain_text("kd train", timeout=2 * PATIENCE)
    page.get_by_role("button", name="Own teacher").click()
    page.set_input_files("#upload-teacher input", tmp_path / "net.pth")
    expect(page.locator("#upload-teacher")).to_contain_text("net", timeout=PATIENCE)
    page.fill("#own-teacher-model input", "timm/test_efficientnet")
    page.keyboard.press("Enter")
    page.fill("#own-teacher-name textarea, #own-teacher-name input", "mine")
    page.click("#own-teacher-import")
    outcome = page.locator("#own-teacher-outcome")
    expect(outcome).to_contain_text("net.pth is a pickle", timeout=PATIENCE)
    expect(outcome).to_contain_text("weights_only=True", timeout=PATIENCE)

    page.locator("#upload-teacher").get_by_label(re.compile("clear|remove", re.IGNORECASE)).first.click()
    page.set_input_files("#upload-teacher input", permuted)
    expect(page.locator("#upload-teacher")).to_contain_text("safetensors", timeout=PATIENCE)
    page.click("#own-teacher-import")
    expect(outcome).to_contain_text("mine is imported", timeout=PATIENCE)
    expect(outcome).to_contain_text("the classes stand in another order: put right by its answers", timeout=PATIENCE)
    expect(page.locator("#field-teacher input")).to_have_value("imported: mine", timeout=PATIENCE)
    expect(page.locator("#command")).to_contain_text("--teacher import:mine", timeout=PATIENCE)
    expect(page.locator("#problems")).to_contain_text("with its classes in another order for", timeout=PATIENCE)
    expect(page.locator("#launch")).to_be_disabled(timeout=PATIENCE)
    page.click("#own-teacher-mend")
    expect(outcome).to_contain_text("stored: classes put into the order of digits", timeout=PATIENCE)
    expect(page.locator("#launch")).to_be_enabled(timeout=PATIENCE)
    expect(page.locator("#problems")).to_have_text("", timeout=PATIENCE)
    expect(page.locator("#forecast")).to_contain_text("teacher: 101.8 k parameters", timeout=PATIENCE)

    # Still there for whoever comes next; and a pair that the tables know as bad is told, and can be launched.
    page.reload()
    expect(page.locator("#command")).to_contain_text("kd train", timeout=2 * PATIENCE)
    page.click("#field-teacher input")
    expect(page.get_by_role("option", name="imported: mine", exact=True)).to_be_visible(timeout=PATIENCE)
    page.keyboard.press("Escape")
    page.click("#field-method-name input")
    page.get_by_role("option", name="Attention transfer (AT)", exact=True).click()
    expect(page.locator("#problems")).to_contain_text("lost up to 6.0 points", timeout=PATIENCE)
    expect(page.locator("#launch")).to_be_enabled(timeout=PATIENCE)
