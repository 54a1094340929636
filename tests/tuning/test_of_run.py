"""A run keeps what it was started with, whatever the machine's cache says later; short runs measure nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import distilled_spec, last_step, tiny_spec

from kdengine import run, runner
from kdengine.errors import Stopped
from kdengine.models import Backbone, build_model
from kdengine.models.stored import read_tensors
from kdengine.models.ways import DIRECT
from kdengine.runner.stopping import StopRequest
from kdengine.spec import ExperimentSpec
from kdengine.training.cached_logits import CachedTeacher
from kdengine.tuning import convolutions, layout, of_run
from kdengine.tuning.of_run import RunChoices
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State

CPU = torch.device("cpu")
TILES = "grouped tiles, 64"


def rigged(fastest: str) -> Callable[..., dict[str, float]]:
    """Times by which a way is the fastest, wherever it is one."""

    def least_seconds(calls: dict[str, Any], _: object) -> dict[str, float]:
        return dict.fromkeys(calls, 1.0) | ({fastest: 0.5} if fastest in calls else {})

    return least_seconds


def rig(monkeypatch: pytest.MonkeyPatch, fastest: str) -> None:
    monkeypatch.setattr(convolutions, "least_seconds", rigged(fastest))
    monkeypatch.setattr(layout, "least_seconds", rigged(fastest))
    monkeypatch.setattr(of_run, "MIN_S", 0.0)


def fresh(tmp_path: Path, **changes: Any) -> RunDirectory:
    folder = RunDirectory(tmp_path / "runs" / "run")
    folder.create(tiny_spec(**changes).to_yaml(), "kd train")
    return folder


def choosing(folder: RunDirectory, tmp_path: Path, images: int = 10**9) -> RunChoices:
    return RunChoices(folder, ExperimentSpec.from_yaml(folder.spec_text()), tmp_path / "cache", CPU, images)


def teacher() -> Backbone:
    return build_model("resnet20", 10, 16).eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def test_a_long_run_is_measured_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(monkeypatch, TILES)
    folder = fresh(tmp_path)
    ways = choosing(folder, tmp_path).ways(teacher(), 32, None)
    assert ways and set(ways.values()) == {TILES}
    told = json.loads(folder.choices_file.read_text())
    assert told["ways_why"] == "measured" and told["ways"] == ways and told["measured"][0]["times"][TILES] == 0.5


@pytest.mark.parametrize(
    ("why", "images", "runtime"), [("a short run", 1000, {}), ("a deterministic run", 10**9, {"deterministic": True})]
)
def test_who_computes_directly(
    why: str, images: int, runtime: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = of_run.MIN_S
    rig(monkeypatch, TILES)
    monkeypatch.setattr(of_run, "MIN_S", least)
    folder = fresh(tmp_path, runtime=runtime)
    choices = choosing(folder, tmp_path, images)
    assert choices.ways(teacher(), 32, None) == {} and choices.kept.ways_why == why
    assert choices.channels_last(teacher(), None) and choices.kept.layout_why == why
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("named", "expected"), [("on", True), ("off", False), (True, True), (False, False)])
def test_a_layout_that_is_set_is_kept(
    named: str | bool, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(monkeypatch, "contiguous" if expected else "channels_last")
    choices = choosing(fresh(tmp_path, runtime={"channels_last": named}), tmp_path)
    assert choices.channels_last(teacher(), None) is expected and choices.kept.layout_why == "as it is set"


@pytest.mark.parametrize("fastest", ["contiguous", "channels_last"])
def test_a_layout_that_is_not_set_is_measured(fastest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(monkeypatch, fastest)
    choices = choosing(fresh(tmp_path), tmp_path)
    assert choices.channels_last(teacher(), None) is (fastest == "channels_last")
    assert choices.kept.layout_why == "measured"


def test_what_was_chosen_first_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(monkeypatch, TILES)
    folder = fresh(tmp_path)
    first = choosing(folder, tmp_path)
    ways, last = first.ways(teacher(), 32, None), first.channels_last(teacher(), None)
    shutil.rmtree(tmp_path / "cache")
    rig(monkeypatch, "contiguous")
    again = choosing(folder, tmp_path)
    assert again.ways(teacher(), 32, None) == ways and again.channels_last(teacher(), None) is last is True


def test_a_run_from_before_choices_were_kept_goes_on_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(monkeypatch, "contiguous")
    folder = fresh(tmp_path)
    folder.last_checkpoint.write_bytes(b"of an earlier version")
    choices = choosing(folder, tmp_path)
    wide = build_model("resnet8x4", 10, 32).eval()
    assert choices.channels_last(wide, None)
    ways = choices.ways(wide, 32, None)
    assert set(ways.values()) == {"batched tiles, 128"} and len(ways) == 2
    assert choosing(folder, tmp_path).ways(wide, 32, None) == ways, "and at the next resume"
    folder.choices_file.unlink()
    assert choosing(folder, tmp_path).ways(wide, 32, torch.bfloat16) == {}


def test_a_way_that_is_not_here_is_said_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig(monkeypatch, TILES)
    folder = fresh(tmp_path)
    there = choosing(folder, tmp_path).ways(teacher(), 32, None)
    monkeypatch.setattr("kdengine.models.ways.products", lambda: ("batched",))
    assert choosing(folder, tmp_path).ways(teacher(), 32, None) == {}
    assert TILES in caplog.text and f"{len(there)} convolutions" in caplog.text and "not bit for bit" in caplog.text


@pytest.mark.parametrize("content", ["{", "[]", '{"ways": 3}', '{"ways_why": "measured", "unknown": 1}'])
def test_a_damaged_file_of_choices_is_said_and_chosen_anew(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig(monkeypatch, TILES)
    folder = fresh(tmp_path)
    folder.choices_file.write_text(content)
    assert set(choosing(folder, tmp_path).ways(teacher(), 32, None).values()) == {TILES}
    assert "choices.json" in caplog.text and "not bit for bit" in caplog.text


# whole runs -----------------------------------------------------------------------------------------------------------


def student_of(workspace: Workspace, name: str) -> dict[str, torch.Tensor]:
    return read_tensors(workspace.run(name).last_student_file)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_resumed_where_the_cache_says_something_else_it_ends_bit_for_bit_as_undisturbed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = distilled_spec(runtime={"replay": "off"})
    rig(monkeypatch, TILES)
    run(spec, run_id="undisturbed", workspace=workspace)
    assert TILES in workspace.run("undisturbed").choices_file.read_text()

    def stop_after_three(self: StopRequest) -> bool:
        return last_step(folder) >= 3

    folder = runner.create(spec, workspace, "stopped")
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "__bool__", stop_after_three)
        with pytest.raises(Stopped):
            runner.execute(folder, workspace)
    assert folder.state() == State.STOPPED
    copied = workspace.runs / "without"
    shutil.copytree(folder.path, copied)
    shutil.rmtree(workspace.cache / "speed")
    rig(monkeypatch, DIRECT)
    runner.execute(folder, workspace)
    assert equal(student_of(workspace, "stopped"), student_of(workspace, "undisturbed"))

    # The same without what the run has kept: it is this file that makes the difference.
    lost = workspace.run("without")
    lost.choices_file.write_text("{}")
    runner.execute(lost, workspace)
    assert not equal(student_of(workspace, "without"), student_of(workspace, "undisturbed"))


def test_what_is_chosen_moves_a_run_by_rounding_only(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = distilled_spec(runtime={"replay": "off"}, recipe={"epochs": 1})
    losses = []
    for fastest in (TILES, DIRECT, "other layout"):
        rig(monkeypatch, fastest)
        shutil.rmtree(workspace.cache / "speed", ignore_errors=True)
        run(spec, run_id=fastest.split(",")[0].replace(" ", "-"), workspace=workspace)
        folder = workspace.run(fastest.split(",")[0].replace(" ", "-"))
        losses.append([event["loss"] for event in folder.events("step")])
    assert len(losses[0]) == 6 and losses[0] != losses[1]
    for other in (losses[0], losses[2]):
        assert other[0] == pytest.approx(losses[1][0], rel=1e-5), "before any step it is rounding alone"
        assert other == pytest.approx(losses[1], rel=1e-2), "steps let it grow"


@pytest.mark.parametrize(("read", "asked", "expected"), [(0.1, 0.2, "yes"), (0.2, 0.1, "no")])
def test_cached_logits_are_read_where_that_is_faster_and_a_resumed_run_keeps_to_it(
    read: float, asked: float, expected: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig(monkeypatch, DIRECT)
    monkeypatch.setattr(CachedTeacher, "seconds", lambda *_: (read, asked))
    folder = runner.create(distilled_spec(), workspace, "run")
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "__bool__", lambda _: last_step(folder) >= 3)
        with pytest.raises(Stopped):
            runner.execute(folder, workspace)
    kept = json.loads(folder.choices_file.read_text())
    assert (kept["reads"], kept["reads_why"]) == (expected, "measured")
    monkeypatch.setattr(CachedTeacher, "seconds", lambda *_: (asked, read))
    runner.execute(folder, workspace)
    assert json.loads(folder.choices_file.read_text())["reads"] == expected
    assert ("replay" in folder.status()) is (expected == "yes")


def test_both_ways_to_logits_are_really_timed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    rig(monkeypatch, DIRECT)
    run(distilled_spec(), run_id="run", workspace=workspace)
    kept = json.loads(workspace.run("run").choices_file.read_text())
    times = kept["measured"][-1]["times"]
    assert kept["reads"] == "yes" and 0 < times["read"] < times["asked"]
