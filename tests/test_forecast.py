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
from kdengine.forecast import Compiling, forecast, known_compiling
from kdengine.forecast.compiling import COMPILED, COMPILED_TEACHER, EAGER, EAGER_TEACHER, START, words
from kdengine.tuning.cache import open_times
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
    with pytest.raises(BadInput, match="larger than the 200 images"):
        forecast(spec(recipe={"batch_size": 500}), Workspace(tmp_path / "home"))
    with pytest.raises(BadInput, match="there is no run"):
        forecast(spec(teacher="run:gone", method="kd"), Workspace(tmp_path / "home"))


# compiling ------------------------------------------------------------------------------------------------------------


NO_TEACHER = {EAGER_TEACHER: 1e-9, COMPILED_TEACHER: 1e-9}


def test_what_compiling_saves_is_steps_times_gain_less_the_start() -> None:
    assert Compiling(eager_s=0.5, compiled_s=0.4, start_s=30.0, steps=1000, on=False).saved_s == pytest.approx(70)
    assert Compiling(eager_s=0.5, compiled_s=0.4, start_s=30.0, steps=100, on=True).saved_s == pytest.approx(-20)


def test_compiling_is_known_for_the_very_steps_it_was_measured_for(workspace: Workspace) -> None:
    asked = spec(recipe={"epochs": 10, "batch_size": 20}, runtime={"threads": torch.get_num_threads()})
    assert known_compiling(asked, workspace) is None
    with open_times(workspace.cache) as known:
        known.put(words(asked), {EAGER: 0.5, COMPILED: 0.4, START: 7.0} | NO_TEACHER)
    told = known_compiling(asked, workspace)
    assert told is not None and (told.eager_s, told.compiled_s, told.start_s, told.on) == (0.5, 0.4, 7.0, False)
    assert told.steps == 10 * forecast(asked, workspace).steps_per_epoch
    longer = asked.model_copy(update={"recipe": asked.recipe.model_copy(update={"epochs": 20})})
    assert known_compiling(longer, workspace).steps == 2 * told.steps  # type: ignore[union-attr]
    for other in (
        {"student": "resnet20"},
        {"method": "byot"},
        {"recipe": {"epochs": 10, "batch_size": 40}},
        {"data": {"name": "digits", "per_class": 20, "image_size": 24}},
        {"teacher": "resnet20", "method": "kd"},
    ):
        same = {"recipe": {"epochs": 10, "batch_size": 20}, "runtime": {"threads": torch.get_num_threads()}}
        assert known_compiling(spec(**(same | other)), workspace) is None, other


def test_a_compiled_run_is_forecast_by_what_was_measured(workspace: Workspace) -> None:
    """A thousand times as fast and an hour to compile: no noise of the machine can look like that."""
    runtime = {"threads": torch.get_num_threads(), "compile": True}
    asked = spec(recipe={"epochs": 400, "batch_size": 20}, runtime=runtime)
    before = forecast(asked, workspace)
    with open_times(workspace.cache) as known:
        known.put(words(asked), {EAGER: 1.0, COMPILED: 0.001, START: 3600.0} | NO_TEACHER)
    after = forecast(asked, workspace)
    assert after.images_per_s > 50 * before.images_per_s and after.seconds > 3600


def test_a_teacher_whose_logits_are_cached_is_not_counted(workspace: Workspace) -> None:
    runtime = {"threads": torch.get_num_threads()}
    kd = {"teacher": "resnet20", "method": "kd", "recipe": {"epochs": 2000, "batch_size": 20}}
    live = spec(**kd, runtime=runtime | {"replay": "off"})
    cached = spec(**kd, runtime=runtime)
    with open_times(workspace.cache) as known:
        known.put(words(live), {EAGER: 0.5, COMPILED: 0.3, START: 7.0, EAGER_TEACHER: 0.4, COMPILED_TEACHER: 0.25})
    told = known_compiling(live, workspace)
    assert told is not None and (told.eager_s, told.compiled_s) == (0.5, 0.3)
    told = known_compiling(cached, workspace)
    # Two thousand epochs meet 25 views again and again.
    assert told is not None and (told.eager_s, told.compiled_s) == pytest.approx((0.1, 0.05), abs=0.005)


def test_compiling_is_told_where_the_run_is_measured_on_another_device(workspace: Workspace) -> None:
    """A precision for GPUs alone is left to the CPU's own choice, as in the forecast."""
    asked = spec(
        recipe={"epochs": 10, "batch_size": 20}, runtime={"threads": torch.get_num_threads(), "precision": "fp16"}
    )
    on_cpu = spec(
        recipe={"epochs": 10, "batch_size": 20}, runtime={"threads": torch.get_num_threads(), "device": "cpu"}
    )
    with open_times(workspace.cache) as known:
        known.put(words(on_cpu), {EAGER: 0.5, COMPILED: 0.4, START: 7.0} | NO_TEACHER)
    told = known_compiling(asked, workspace, "cpu")
    assert told is not None and told.eager_s == 0.5
