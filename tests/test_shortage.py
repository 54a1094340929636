"""A run that runs out of memory, end to end on a GPU that is not there: what it writes, and what it has let go of."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from support import distilled_spec, tiny_spec

from kdengine import run
from kdengine.cli import main
from kdengine.errors import KdError
from kdengine.jobs import JobStore
from kdengine.jobs.remedies import stored
from kdengine.methods.none import Alone
from kdengine.runner import shortage
from kdengine.spec import ExperimentSpec
from kdengine.testing.fake_gpu import fake_gpu
from kdengine.workspace import Workspace

MESSAGE = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 16.00 GiB of which 1.00 GiB is "
    "free. Including non-PyTorch memory, this process has 14.50 GiB memory in use. Of the allocated memory 13.50 GiB "
    "is allocated by PyTorch, and 80.00 MiB is reserved by PyTorch but unallocated."
)
ON_GPU: dict[str, Any] = {"runtime": {"device": "cuda", "precision": "fp32"}}


@pytest.fixture
def small_card(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A card on which 16 images fit; the students that did not, weakly."""
    forward = Alone.forward
    met: list[Any] = []

    def fits_16(self: Any, batch: Any, student: Any, *rest: Any) -> Any:
        if len(batch.target) > 16:
            met.append(weakref.ref(student))
            raise torch.OutOfMemoryError(MESSAGE)
        return forward(self, batch, student, *rest)

    monkeypatch.setattr(Alone, "forward", fits_16)
    return met


def test_it_says_what_was_needed_and_offers_what_fits(
    workspace: Workspace, small_card: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[tuple[int, str, bool]] = []
    forecast = shortage.forecast

    def noting(spec: ExperimentSpec, *rest: Any, **more: Any) -> Any:
        measured.append((spec.recipe.batch_size, spec.runtime.precision, small_card[0]() is None))
        return forecast(spec, *rest, **more)

    monkeypatch.setattr(shortage, "forecast", noting)
    with fake_gpu(), pytest.raises(KdError, match=r"2.0 GiB more were needed, 1.0 GiB of its 16.0 GiB were free"):
        run(tiny_spec(**ON_GPU), run_id="large", workspace=workspace)
    status = workspace.run("large").status()
    assert (status["state"], status["reason"]) == ("failed", "oom_gpu")
    assert "this run held 14.5 GiB; batch 32 in fp32, at most 2.0 GiB at a time" in status["message"]
    found = stored(status)
    assert [each["set"] for each in found if "recipe.accumulate" not in each["set"]] == [
        {"runtime.precision": "bf16"},
        {"recipe.batch_size": 16},
    ]
    assert all(" of 16.0 GiB, 8.0 GiB of them to be had" in each["note"] for each in found)
    assert (32, "bf16", True) in measured and (16, "fp32", True) in measured, "each was measured, on an empty card"
    JobStore(workspace).adopt(workspace.run("large"))
    assert main(["jobs", "show", "large"]) == 0
    line = f"kd train --spec {workspace.run('large').spec_file} --set recipe.batch_size=16"
    assert line in " ".join(capsys.readouterr().out.split())


def test_what_is_offered_trains(workspace: Workspace, small_card: list[Any]) -> None:
    with fake_gpu():
        with pytest.raises(KdError):
            run(tiny_spec(**ON_GPU), run_id="large", workspace=workspace)
        changes = stored(workspace.run("large").status())[-1]["set"]
        changed = shortage.changed(tiny_spec(**ON_GPU), changes)
        assert changed is not None and run(changed, workspace=workspace).state == "finished"


def test_a_card_that_answers_no_more_is_told_of_without_numbers(
    workspace: Workspace, small_card: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with fake_gpu():
        monkeypatch.setattr(torch.cuda, "mem_get_info", dead)
        outcome = shortage.look_back(
            torch.OutOfMemoryError(MESSAGE), "oom_gpu", tiny_spec(**ON_GPU), on_cuda(workspace), workspace
        )
    assert {"recipe.batch_size": 16} in [each["set"] for each in outcome.remedies]
    assert not any("iB" in each["note"] for each in outcome.remedies)


def on_cuda(workspace: Workspace) -> Any:
    folder = workspace.run("here")
    folder.create(tiny_spec(**ON_GPU).to_yaml(), "kd train")
    folder.write_environment({"device": "cuda"})
    return folder


def test_when_its_teacher_was_too_large_both_are_made_smaller(workspace: Workspace, small_card: list[Any]) -> None:
    with fake_gpu(), pytest.raises(KdError):
        run(distilled_spec(**ON_GPU), run_id="pair", workspace=workspace)
    status = workspace.run("pair").status()
    assert status["reason"] == "oom_gpu" and f"it trained its teacher, run {status['teacher_run']}" in status["message"]
    both = {"recipe.batch_size": 16, "teacher.spec.recipe.batch_size": 16}
    assert both in [each["set"] for each in stored(status)]
    changed = shortage.changed(distilled_spec(**ON_GPU), both)
    assert changed is not None and changed.teacher is not None and changed.teacher.spec is not None
    assert changed.teacher.spec.recipe.batch_size == changed.recipe.batch_size == 16


def test_the_next_attempt_leaves_nothing_of_it(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(KdError):
        patch.setattr(Alone, "forward", full)
        run(tiny_spec(), run_id="tight", workspace=workspace)
    status = workspace.run("tight").status()
    assert status["reason"] == "oom_host" and [each["set"] for each in stored(status)] == [{"recipe.batch_size": 16}]
    run(tiny_spec(), run_id="tight", workspace=workspace, resume=True)
    assert stored(workspace.run("tight").status()) == []
