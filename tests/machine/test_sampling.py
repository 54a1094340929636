"""How busy a run and its machine are: what is looked at, where it is written, and that no failure ends a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pynvml
import pytest
from fake_nvml import FIRST, GIB, SECOND, SLICES, Card, FakeNvml, divided, shared_memory
from support import PATIENCE_S, tiny_spec

from app.board import Board
from kdengine import run, tracking
from kdengine.figures import curves
from kdengine.jobs import JobStore
from kdengine.machine import sampling
from kdengine.machine.nvml import Nvml
from kdengine.machine.sampling import Sampler, sampled
from kdengine.tracking import values
from kdengine.tracking.server import client_of
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

BURN = "import time\nend = time.time() + 60\nwhile time.time() < end: pass"
NO_DRIVER = FakeNvml(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


@pytest.fixture
def folder(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "home" / "runs" / "a")
    run.create("method: none\n", "kd train")
    return run


def looks(run: RunDirectory, count: int) -> list[dict]:
    deadline = time.monotonic() + PATIENCE_S
    while len(found := list(run.events("system"))) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_the_work_of_child_processes_is_the_runs(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path, Nvml(NO_DRIVER))
    with subprocess.Popen([sys.executable, "-S", "-c", BURN]) as busy:
        try:
            time.sleep(0.3)
            sampler.look()
            time.sleep(1.0)
            with_child = sampler.look()
        finally:
            busy.kill()
    time.sleep(0.05)
    sampler.look()
    time.sleep(0.5)
    alone = sampler.look()
    assert with_child["cores"] > 0.2 > alone["cores"], "this process only slept"
    assert with_child["ram"] > 10 << 20 and 0 < with_child["ram_used"] <= with_child["ram_total"]
    assert 0 <= with_child["cpu"] <= 1 and 0 < with_child["disk_free"] <= with_child["disk_total"]
    assert "gpu" not in with_child


def test_what_is_written_counts(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path, Nvml(NO_DRIVER))
    sampler.look()
    began = time.monotonic()
    (tmp_path / "download").write_bytes(bytes(20 << 20))
    found = sampler.look()
    assert found["io"] * (time.monotonic() - began) > 15 << 20


@pytest.mark.parametrize(
    ("machine", "value", "number", "expected"),
    [
        (
            FakeNvml(Card(FIRST), Card(SECOND, free=10 * GIB, busy=83, processes=2)),
            None,
            1,
            {"use": 0.83, "used": 30 * GIB, "total": 40 * GIB, "processes": 2, "watts": 250.0},
        ),
        (FakeNvml(Card(FIRST), Card(SECOND, busy=40)), SECOND, 0, {"use": 0.4}),
        (FakeNvml(shared_memory()), None, 0, {"use": 0.0, "processes": 0, "watts": 250.0}),
        (FakeNvml(divided()), SLICES[0], 0, {"used": 1 * GIB, "total": 5 * GIB}),
        (FakeNvml(Card(FIRST, fails={"UtilizationRates": pynvml.NVML_ERROR_NOT_SUPPORTED})), None, 0, {"processes": 0}),
        (FakeNvml(Card(FIRST)), None, None, None),
        (FakeNvml(Card(FIRST)), "-1", 0, None),
        (NO_DRIVER, None, 0, None),
    ],
)
def test_the_gpu_of_the_run_is_looked_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: FakeNvml,
    value: str | None,
    number: int | None,
    expected: dict | None,
) -> None:
    sampler = Sampler(tmp_path, Nvml(machine))
    with monkeypatch.context() as patched:
        if value is not None:
            patched.setitem(os.environ, "CUDA_VISIBLE_DEVICES", value)
        sampler.follow(number)
    gpu = sampler.look().get("gpu")
    assert gpu is None if expected is None else gpu is not None and expected.items() <= gpu.items()
    if machine.cards and "UtilizationRates" in (machine.cards[0].fails or {}):
        assert "use" not in gpu


def test_looks_become_events_until_the_run_ends(folder: RunDirectory, tmp_path: Path) -> None:
    with sampled(folder, Sampler(tmp_path, Nvml(NO_DRIVER)), every_s=0.02):
        found = looks(folder, 3)
    count = len(list(folder.events("system")))
    time.sleep(0.1)
    assert len(list(folder.events("system"))) == count >= 3
    assert all(isinstance(look["cores"], float) and look["time"] for look in found)


def test_pauses_grow_with_the_age_of_a_run() -> None:
    """A run of ten days leaves thirty thousand looks, some 10 MB, not two hundred thousand."""
    elapsed, count = 0.0, 0
    while elapsed < 10 * 86400:
        elapsed += max(sampling.EVERY_S, min(sampling.MAX_EVERY_S, sampling.OF_ITS_AGE * elapsed))
        count += 1
    assert 20_000 < count < 40_000


def test_a_full_disk_or_a_lost_process_ends_no_run(
    folder: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(event: dict) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(folder, "append_event", full)
        with sampled(folder, Sampler(tmp_path, Nvml(NO_DRIVER)), every_s=0.01):
            deadline = time.monotonic() + PATIENCE_S
            while "cannot be written down" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)
    assert caplog.text.count("cannot be written down") == 1


def test_a_run_tells_page_and_mlflow(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sampling, "EVERY_S", 0.05)
        patched.setattr(values, "SYSTEM_EVERY_S", 0.2)
        run(tiny_spec(), run_id="a", workspace=workspace)
        folder = workspace.run("a")
        events = list(folder.events("system"))
        assert len(events) > 3
        JobStore(workspace).adopt(folder)
        record = Board(workspace).record("a")
        assert record.system == events and record.unreadable == 0 and record.steps and record.epochs
        figure = curves.system(record.system, label="a")
        assert [trace.name for trace in figure.data] == ["CPU", "memory", "disk"]
        tracking.mirror(workspace, folder)  # once more: nothing is told twice
    client = client_of(workspace)
    twin = tracking.mlflow_run_id(folder)
    told = client.get_metric_history(twin, "system/cpu_utilization_percentage")
    assert told and len({metric.timestamp for metric in told}) == len(told) <= len(events)
    apart = [b.timestamp - a.timestamp for a, b in pairwise(told)]
    assert all(gap >= 199 for gap in apart)
    assert {"system/system_memory_usage_megabytes", "system/disk_usage_percentage"} <= set(
        client.get_run(twin).data.metrics
    )


def test_the_gpu_is_drawn_and_told_by_mlflows_names() -> None:
    look = {
        **{"kind": "system", "cpu": 0.5, "cores": 1.0, "io": 0, "ram": 1, "ram_used": 2, "ram_total": 4},
        **{"disk_free": 1, "disk_total": 4, "gpu": {"use": 0.9, "used": 10 * GIB, "total": 40 * GIB, "watts": 250.0}},
    }
    figure = curves.system([look | {"time": 60.0 * n} for n in range(3)])
    drawn = {trace.name: list(trace.y) for trace in figure.data}
    assert drawn == {
        "GPU": [90.0] * 3, "GPU memory": [25.0] * 3, "CPU": [50.0] * 3, "memory": [50.0] * 3, "disk": [75.0] * 3
    }  # fmt: skip
    assert list(figure.data[0].x) == [0, 1, 2]
    told = values.system_of(look)
    assert told["gpu_0_utilization_percentage"] == 90 and told["gpu_0_memory_usage_percentage"] == 25
    assert told["gpu_0_power_usage_watts"] == 250 and told["disk_usage_percentage"] == 75


def test_an_older_run_has_no_such_events(folder: RunDirectory) -> None:
    folder.append_event({"kind": "step", "step": 1, "terms": {}, "images_per_s": 1.0})
    board = Board(Workspace(folder.home))
    assert board.record("a").system == [] and len(curves.system([]).data) == 0
