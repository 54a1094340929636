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

pytestmark = pytest.mark.browser


def test_a_teacher_is_imported_by_clicks(dashboard: Dashboard, page: Page, tmp_path: Path) -> None:
    home = dashboard.workspace
    abroad = train_abroad(load_dataset("digits", home.datasets, 16, cache=home.cache), tmp_path)
    torch.save(abroad.net.state_dict(), tmp_path / "net.pth")
    permuted = abroad.permuted(tmp_path, [9, 0, 1, 2, 3, 4, 5, 6, 7, 8])

    page.goto(f"{dashboard.url}/launch")
    expect(page.locator("#command")).to_contain_text("kd train")
    page.get_by_role("button", name="Own teacher").click()
    page.set_input_files("#upload-teacher input", tmp_path / "net.pth")
    expect(page.locator("#upload-teacher")).to_contain_text("net")
    page.fill("#own-teacher-model input", "timm/test_efficientnet")
    page.keyboard.press("Enter")
    page.fill("#own-teacher-name textarea, #own-teacher-name input", "mine")
    page.click("#own-teacher-import")
    outcome = page.locator("#own-teacher-outcome")
    expect(outcome).to_contain_text("net.pth is a pickle")
    expect(outcome).to_contain_text("weights_only=True")

    page.locator("#upload-teacher").get_by_label(re.compile("clear|remove", re.IGNORECASE)).first.click()
    page.set_input_files("#upload-teacher input", permuted)
    expect(page.locator("#upload-teacher")).to_contain_text("safetensors")
    page.click("#own-teacher-import")
    expect(outcome).to_contain_text("mine is imported")
    expect(outcome).to_contain_text("the classes stand in another order: put right by its predictions")
    expect(page.locator("#field-teacher input")).to_have_value("imported: mine")
    expect(page.locator("#command")).to_contain_text("--teacher import:mine")
    expect(page.locator("#problems")).to_contain_text("with its classes in another order for")
    expect(page.locator("#launch")).to_be_disabled()
    page.click("#own-teacher-mend")
    expect(outcome).to_contain_text("stored: classes put into the order of digits")
    expect(page.locator("#launch")).to_be_enabled()
    expect(page.locator("#problems")).to_have_text("")
    expect(page.locator("#forecast")).to_contain_text("101.8 k")

    # Still there for whoever comes next; and a pair that the tables know as bad is told, and can be launched.
    page.reload()
    expect(page.locator("#command")).to_contain_text("kd train")
    page.click("#field-teacher input")
    expect(page.get_by_role("option", name="imported: mine", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.fill("#field-student-name input", "mobilenetv3_small")
    page.keyboard.press("Enter")
    page.click("#field-method-name input")
    page.get_by_role("option", name="Attention transfer (AT)", exact=True).click()
    expect(page.locator("#problems")).to_contain_text("lost up to 6.0 points")
    expect(page.locator("#launch")).to_be_enabled()
