"""A page server that ends leaves nothing of its own behind; the workspace is all there is."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest
from dashboard import Dashboard
from support import PATIENCE_S

from kdengine.workspace import Workspace

pytestmark = pytest.mark.processes


def test_it_clears_its_temporary_files_away(workspace: Workspace) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a short path: sockets lie there too
        dashboard = Dashboard(workspace, TMPDIR=folder)
        dashboard.start()
        assert list(Path(folder).glob("kd-ui-*/gradio")) or list(Path(folder).glob("kd-ui-*/empty"))
        dashboard.close()
        assert not list(Path(folder).glob("kd-*"))


def test_a_killed_one_takes_mlflow_with_it_and_comes_back_to_its_open_pages(workspace: Workspace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        dashboard = Dashboard(workspace, "--mlflow", TMPDIR=folder, KD_TOKEN="")
        dashboard.start()
        try:
            address = re.search(r"http://\S+token=\S+", (workspace.root / "ui.log").read_text())
            assert address is not None
            with httpx.Client(base_url=dashboard.url, follow_redirects=True) as visitor:
                assert visitor.get(address[0]).status_code == 200
                page = wait_for_mlflow(visitor)
                assert "<title>MLflow</title>" in page.text
                found = visitor.post("/mlflow/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 5})
                assert found.json()["experiments"][0]["name"] == "Default"
                assert httpx.get(f"{dashboard.url}/mlflow/").status_code == 401
                assert visitor.post("/mlflow/ajax-api/2.0/mlflow/experiments/create", json={"name": "x"},
                                    headers={"Origin": "http://127.0.0.1:1"}).status_code == 403  # fmt: skip
                assert addresses_of(processes_at(folder)) == {("127.0.0.1", dashboard.port)}, "MLflow has a socket"
                dashboard.kill()
                wait_until_gone(folder)
                dashboard.start()
                assert visitor.get("/runs").status_code == 200, "the open page goes on"
        finally:
            dashboard.close()
        wait_until_gone(folder)
        assert not list(workspace.root.glob("ui-*"))


def wait_for_mlflow(visitor: httpx.Client) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE_S
    while (answer := visitor.get("/mlflow")).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.2)
    return answer


def processes_at(folder: str) -> list[psutil.Process]:
    """Those with that folder for temporary files that are a page server or MLflow's: not the supervisor."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if process.environ().get("TMPDIR") == folder and ("mlflow" in words or " ui " in words):
                found.append(process)
        except psutil.Error:
            continue
    return found


def addresses_of(processes: list[psutil.Process]) -> set[tuple[str, int]]:
    return {tuple(each.laddr) for process in processes for each in process.net_connections() if each.status == "LISTEN"}


def wait_until_gone(folder: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while processes_at(folder):
        assert time.monotonic() < deadline, processes_at(folder)
        time.sleep(0.1)
