"""A student taken away from the Runs page: chosen by clicks, measured on the page, downloaded as a zip that works."""

from __future__ import annotations

import zipfile

import numpy as np
import onnxruntime
import pytest
from dashboard import Dashboard
from playwright.sync_api import Page, expect
from support import tiny_spec

from kdengine import run
from kdengine.jobs import JobStore

pytestmark = pytest.mark.browser


def test_a_student_is_taken_away(dashboard: Dashboard, page: Page) -> None:
    result = run(tiny_spec(student="resnet8"), workspace=dashboard.workspace)
    JobStore(dashboard.workspace).adopt(dashboard.workspace.run(result.run_id))
    page.goto(f"{dashboard.url}/runs?run={result.run_id}")
    panel = page.locator("#export")
    expect(panel).to_be_visible()
    panel.get_by_role("button", name="Export").click()
    expect(page.locator("#export-exits")).to_be_hidden()
    page.get_by_label("ONNX", exact=True).check()
    page.get_by_label("Also in 8 bits").check()
    page.click("#export-begin")
    table = page.locator("#export-outcome table")
    expect(table).to_be_visible()
    files = table.locator("tbody tr td:first-child").all_inner_texts()
    assert files == ["PyTorch, eager", "model.onnx", "model.int8.onnx"]
    accuracy = f"{100 * (result.test_accuracy or 0):.1f} %"
    assert table.locator("tbody tr").nth(1).locator("td").all_inner_texts()[2:4] == [accuracy, "100.0 %"]

    with page.expect_download() as download:
        page.click("#export-download")
    with zipfile.ZipFile(download.value.path()) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()} - {""}
        assert names == {
            "model.onnx", "model.int8.onnx", "README.md", "model_card.json", "spec.yaml", "export.json",
        }  # fmt: skip
        session = onnxruntime.InferenceSession(archive.read(f"{result.run_id}-onnx/model.onnx"))
    assert session.run(None, {"images": np.zeros((3, 3, 16, 16), np.float32)})[0].shape == (3, 10)
