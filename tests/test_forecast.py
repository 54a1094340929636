"""What a run will cost is told before it starts: counts that are right, seconds that come true, no trace left."""

from __future__ import annotations

import itertools
import json
import random
import statistics
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from kdengine import ExperimentSpec, run
from kdengine.errors import BadInput
from kdengine.forecast import forecast
from kdengine.workspace import Workspace


def spec(**changes: object) -> ExperimentSpec:
    tiny = {
        "data": {"name": "digits", "per_class": 20},
        "student": "resnet8x4",
        "method": "none",
        "recipe": {"epochs": 3, "batch_size": 32},
        "runtime": {"threads": 1},
    }
    return ExperimentSpec.from_mapping(tiny | changes)


def files_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_counts_are_right(tmp_path: Path) -> None:
    told = forecast(spec(data={"name": "cifar100"}, recipe="crd240"), Workspace(tmp_path / "home"))
    assert (told.student.name, told.student.parameters, told.teacher) == ("resnet8x4", 1_233_540, None)
    assert told.student.bytes == pytest.approx(4 * told.student.parameters, rel=0.01)
    assert told.student.macs == pytest.approx(177e6, rel=0.01) and told.student.milliseconds > 0
    assert told.steps_per_epoch == 45_000 // 64 and told.method_parameters == 0
    assert not (tmp_path / "home").exists(), "nothing is downloaded or written"


def test_seconds_come_true(workspace: Workspace) -> None:
    """Within a factor of four: neighbours on the machine may slow the run and not the forecast, or the other way."""
    told = [forecast(spec(), workspace)]
    done = run(spec(), workspace=workspace)
    told += [forecast(spec(), workspace), forecast(spec(), workspace)]
    ends = [event["time"] for event in workspace.run(done.run_id).latest("epoch", "epoch")]
    real = statistics.median(later - earlier for earlier, later in itertools.pairwise(ends))
    expected = statistics.median(one.epoch_seconds for one in told)
    assert real / 4 < expected < real * 4
    assert all(3 * one.epoch_seconds < one.seconds < 3 * one.epoch_seconds + 20 for one in told)


def test_memory_grows_with_the_batch_and_the_teacher(tmp_path: Path) -> None:
    home = Workspace(tmp_path / "home")
    small, large = (forecast(spec(recipe={"batch_size": size}), home).memory_bytes for size in (16, 128))
    taught = forecast(spec(recipe={"batch_size": 16}, teacher="resnet20", method="kd"), home)
    assert large > 2 * small
    assert taught.teacher is not None and taught.teacher_seconds > 0
    # As it is, and folded.
    assert small + taught.teacher.bytes * 1.8 < taught.memory_bytes < small + 3 * taught.teacher.bytes


def test_saved_activations_are_what_autograd_keeps(tmp_path: Path) -> None:
    """Doubling the batch adds one batch of activations: more than the stage maps alone, less than thirty times them."""
    home = Workspace(tmp_path / "home")
    one, two = (forecast(spec(recipe={"batch_size": size}), home).memory_bytes for size in (32, 64))
    maps = 32 * 4 * (64 * 16 * 16 + 128 * 8 * 8 + 256 * 4 * 4)
    assert maps < two - one < 30 * maps


def test_replay_is_counted_in(workspace: Workspace) -> None:
    """25 views of a digit: in 50 epochs most come again, in one epoch none does."""
    inner = spec(recipe={"epochs": 1, "batch_size": 64}).model_dump(mode="json")
    many, once, off = (
        forecast(
            spec(teacher={"spec": inner}, method="kd", recipe={"epochs": epochs, "batch_size": 64}, **more), workspace
        )
        for epochs, more in ((50, {}), (1, {}), (50, {"runtime": {"threads": 1, "replay": "off"}}))
    )
    assert many.replay_share == pytest.approx(1 - 25 / 50 * (1 - (24 / 25) ** 50), abs=0.001)
    assert (once.replay_share, off.replay_share) == (pytest.approx(0, abs=1e-9), 0)
    assert many.replay_seconds > 0 == off.replay_seconds


def test_a_trained_teacher_costs_nothing(workspace: Workspace) -> None:
    inner = spec(student="resnet20", recipe={"epochs": 2, "batch_size": 64})
    taught = spec(teacher={"spec": inner.model_dump(mode="json")}, method="kd")
    assert forecast(taught, workspace).teacher_seconds > 0
    trained = run(inner, workspace=workspace)
    assert forecast(taught, workspace).teacher_seconds == 0
    by_id = forecast(spec(teacher=f"run:{trained.run_id}", method="kd"), workspace)
    assert by_id.teacher_seconds == 0 and by_id.teacher is not None and by_id.teacher.name == "resnet20"


def test_nothing_is_changed(workspace: Workspace) -> None:
    before = files_in(workspace.root)
    threads = torch.get_num_threads()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    told = forecast(spec(student="resnet20", method="byot", runtime={"threads": 2}), workspace)
    assert (torch.rand(1), np.random.rand(), random.random()) == expected
    assert torch.get_num_threads() == threads
    assert files_in(workspace.root) == before
    assert told.method_parameters > 0 and told.device in ("cpu", "cuda")
    assert json.loads(json.dumps(asdict(told)))["student"]["name"] == "resnet20"


def test_what_cannot_run_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="larger than the 200 pictures"):
        forecast(spec(recipe={"batch_size": 500}), Workspace(tmp_path / "home"))
    with pytest.raises(BadInput, match="there is no run"):
        forecast(spec(teacher="run:gone", method="kd"), Workspace(tmp_path / "home"))
