"""Every method from its spec to its end on a GPU that is not there: forecast, run, eval, inspect, export."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support import make_workspace, tiny_spec

from kdengine import assembly, run
from kdengine.commands import exits
from kdengine.evaluation.accuracy import evaluate
from kdengine.export import export
from kdengine.export.request import Request
from kdengine.forecast import forecast
from kdengine.inspection.looking import LAST, chosen, look, offered
from kdengine.inspection.recordings import recorded_panels
from kdengine.methods import get_method, list_methods
from kdengine.models.stored import load_student
from kdengine.spec import ExperimentSpec
from kdengine.testing.fake_gpu import fake_gpu
from kdengine.workspace import Workspace

GPU = torch.device("cuda")
MAY_WAIT = {
    (
        "data/batches/loader.py",
        "_prepare",
    ): "meta batches: order and draws go to the device once a pass",
    ("data/batches/loader.py", "_keep"): "meta batches: their images go to the device once, where they may stay",
}


def spec_of(method: str, teacher: str) -> ExperimentSpec:
    """One epoch of a few steps of a small network; looked at before and after."""
    needs = get_method(method).requires(get_method(method).Params())
    changes: dict[str, Any] = {"method": method, "student": "resnet8", "data": {"per_class": 8}}
    changes["recipe"] = {"epochs": 1, "batch_size": 20, "ema": 0.9}
    changes["runtime"] = {"device": "cuda", "inspect": 1, "precision": "fp32"}
    return tiny_spec(**changes, **({"teacher": f"run:{teacher}"} if needs.teacher else {}))


STORED = {
    ("training/cached_logits.py", "_packed"): "replay=on: the teacher's logits are stored on the host",
    ("training/cached_logits.py", "_sent"): "replay=on: what is stored goes to the device, from pinned memory",
}
"""Why cached teacher logits are off on a GPU unless they are asked for, or nothing is left to compute."""


@pytest.fixture(scope="module", autouse=True)
def times_that_nobody_reads() -> Iterator[None]:
    """Measured once and not until they are exact: here it counts that they can be measured at all."""
    with pytest.MonkeyPatch.context() as patch:
        for place, value in (
            ("forecast.steps.STEP_S", 0.05), ("forecast.whole.LATENCY_S", 0.0), ("export.parity.ROUNDS", 1),
        ):  # fmt: skip
            patch.setattr(f"kdengine.{place}", value)
        yield


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> tuple[Workspace, str]:
    """A workspace with a teacher that was trained on the CPU, and its id."""
    workspace = make_workspace(tmp_path_factory.mktemp("taught") / "home", furnished)
    spec = tiny_spec(student="resnet8", data={"per_class": 8}, recipe={"epochs": 1, "batch_size": 20})
    return workspace, run(spec, workspace=workspace).run_id


@pytest.mark.parametrize("method", list_methods())
def test_from_the_forecast_to_the_exported_file(
    tmp_path: Path, taught: tuple[Workspace, str], method: str, caplog: pytest.LogCaptureFixture
) -> None:
    workspace, teacher = taught
    spec = spec_of(method, teacher)
    with fake_gpu(allowed=MAY_WAIT), caplog.at_level(logging.WARNING):
        expected = forecast(spec, workspace)
        result = run(spec, workspace=workspace)
        folder = workspace.run(result.run_id)
        bundle = assembly.load_data_of(folder, workspace)
        batches = assembly.evaluation_batches(spec, bundle, "test", GPU)
        student = load_student(folder)[0].to(GPU)
        again = evaluate(lambda x: student(x).logits, batches.epoch(0))
        panels = [each.name for each in offered(workspace, folder) if each.name in recorded_panels(folder)]
        seen = [look(workspace, folder, name, 1) for name in panels]
        seen.append(look(workspace, folder, panels[0], LAST, chosen(workspace, folder, 8)))
        if "exit 1" in result.metrics:
            assert exits.measure(folder, lambda: batches.epoch(0), GPU)["exits"]
        exported = export(folder, workspace, tmp_path / "exported", Request(images=16))
    assert (expected.device, expected.steps_per_epoch > 0, expected.replay_share) == ("cuda", True, 0.0)
    assert folder.environment()["device"] == "cuda" and folder.environment()["precision"] == "fp32"
    assert again.accuracy == result.test_accuracy
    assert exported.networks and seen
    assert "was not looked at" not in caplog.text


@pytest.mark.parametrize("augmentation", ["none", "crop"])
def test_stored_answers_are_read_where_nothing_is_left_to_compute(
    taught: tuple[Workspace, str], augmentation: str
) -> None:
    """One view an image: one run stores them all. Of 25 views one epoch leaves most to compute, and none is read."""
    workspace, teacher = taught
    spec = spec_of("kd", teacher)
    data = {"data": spec.data.model_copy(update={"augmentation": augmentation}), "seed": 7}
    asked = [
        spec.model_copy(update=data | {"runtime": spec.runtime.model_copy(update={"replay": mode})})
        for mode in ("auto", "on")
    ]
    auto, on = (ExperimentSpec.from_mapping(each.model_dump(mode="json")) for each in asked)
    with fake_gpu(allowed=MAY_WAIT):
        assert forecast(auto, workspace).replay_share == 0.0
        first = run(auto, workspace=workspace)
    with fake_gpu(allowed=MAY_WAIT | STORED):
        run(on, workspace=workspace)
        later, expected = run(auto, workspace=workspace), forecast(auto, workspace)
    assert "replay" not in workspace.run(first.run_id).status()
    read = workspace.run(later.run_id).status().get("replay")
    if augmentation == "none":
        assert read is not None and read["computed"] == 0 and expected.replay_share == 1.0
    else:
        assert read is None and expected.replay_share == 0.0
