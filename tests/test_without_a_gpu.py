"""A run that would take a GPU and gets none says so wherever a person looks; one that insists on it ends in words."""

from __future__ import annotations

import logging

import pytest
from fake_nvml import FIRST, Card, FakeNvml
from support import tiny_spec

from app.board import Board
from app.pages.runs import state as runs_state
from kdengine import run, runner
from kdengine.cli import main
from kdengine.errors import BadInput
from kdengine.jobs import JobStore
from kdengine.jobs.placement import NO_GPU, PLACED_ON
from kdengine.machine.nvml import Nvml
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

WHY = "insufficient permissions for the NVIDIA driver"


def test_one_that_would_take_a_gpu_trains_on_the_cpu_aloud(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setenv(PLACED_ON, "")
        patched.setenv(NO_GPU, WHY)
        result = run(tiny_spec(runtime={"device": "auto"}), run_id="a", workspace=workspace)
    assert result.state is State.FINISHED
    assert f"it trains on the CPU, not on a GPU: {WHY}" in caplog.text
    assert workspace.run("a").status()["lacking"] == WHY
    assert main(["jobs"]) == 0 and "for want of a GPU" in capsys.readouterr().out
    assert main(["jobs", "show", "a"]) == 0 and WHY in capsys.readouterr().out
    assert JobStore(workspace).find("a") is not None
    detail = Board(workspace).detail("a")
    assert detail is not None and WHY in runs_state.state(detail, None)


def test_one_for_the_cpu_misses_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv(PLACED_ON, "")
        patched.setenv(NO_GPU, WHY)
        run(tiny_spec(), run_id="a", workspace=workspace)
    assert not workspace.run("a").status().get("lacking")


def test_one_from_a_shell_asks_the_driver_itself(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Torch finds no GPU in the test's machine, the driver shows one: as with a driver too old for the wheel."""
    with monkeypatch.context() as patched:
        patched.setattr("kdengine.jobs.placement.look", Nvml(FakeNvml(Card(FIRST), driver="470.1")).inventory)
        patched.setattr("torch.cuda.is_available", lambda: False)
        run(tiny_spec(runtime={"device": "auto"}), run_id="a", workspace=workspace)
        assert "the driver (470.1) shows" in workspace.run("a").status()["lacking"]
        assert main(["train", "--dataset", "digits", "--method", "none", "--set", "runtime.device=cuda"]) == 2
        said = capsys.readouterr().err
        assert "no device 'cuda' here" in said and "this torch cannot use it" in said
        queued_elsewhere = runner.create(tiny_spec(runtime={"device": "cuda"}), workspace, "b")
        with pytest.raises(BadInput, match=r"(?s)no device 'cuda' here.*this torch cannot use it"):
            runner.execute(queued_elsewhere, workspace)
    assert workspace.run("b").status()["state"] == "failed"
