"""Workspaces that earlier releases left: all in them is found again, and what was under way goes on.

They are made by data/make_workspace.py, with the code of the release.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from plugin_packages import install
from safetensors.torch import load_file
from support import PATIENCE_S, start_kd

from kdengine import ExperimentSpec, assembly, run, tracking
from kdengine.cli import main
from kdengine.comparison.plan import Plan
from kdengine.comparison.progress import progress
from kdengine.comparison.stored_plans import load_plan, plan_file, save_plan
from kdengine.jobs import JobStore, stop_supervisor
from kdengine.models.stored import load_student
from kdengine.registry import MODELS
from kdengine.teachers import records
from kdengine.training import checkpoint
from kdengine.workspace import Workspace, files
from kdengine.workspace.format import current, found
from kdengine.workspace.rundir import RunDirectory
from kdengine.workspace.states import State
from studies import storage, trials

DATA = Path(__file__).parent / "data"
RELEASES = sorted(path.name for path in DATA.glob("workspace-*.tar.xz"))
# Another processor than the release's has other kernels: what it trains anew differs in the last bits.
ROUNDING = 1e-4

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The network that they were trained with, here and for processes."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "tiniest", "kdengine.models", (DATA / "tiniest.py").read_text())
    MODELS.names()
    sys.path.insert(0, str(folder))
    import tiniest  # noqa: F401 - registers it

    yield folder
    sys.path.remove(str(folder))
    del sys.modules["tiniest"], MODELS._entries["tiniest"]


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, furnished: Path) -> Path:
    """The workspace as it was left, unpacked; the digits are decoded already."""
    place = tmp_path_factory.mktemp("release")
    with tarfile.open(DATA / request.param) as archive:
        archive.extractall(place, filter="data")
    return place / "home"


@pytest.fixture
def old(release: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A copy of it, as who moves a folder has it."""
    shutil.copytree(release, tmp_path / "home")
    monkeypatch.setenv("KD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace = Workspace(tmp_path / "home")
    yield workspace
    stop_supervisor(workspace)


def spec_of(folder: RunDirectory) -> ExperimentSpec:
    return ExperimentSpec.from_yaml(folder.spec_text())


def finished(workspace: Workspace) -> list[RunDirectory]:
    runs = [one for one in workspace.list_runs() if one.status()["state"] == State.FINISHED]
    return [one for one in runs if one.status().get("kind") != "study"]


def kd(workspace: Workspace, *words: str) -> str:
    process = start_kd(workspace, *words)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out.decode() + err.decode()
    return out.decode()


def test_there_is_one_of_each_release() -> None:
    assert "workspace-0.1.0.tar.xz" in RELEASES
    assert all((DATA / name).stat().st_size < 500_000 for name in RELEASES)


def test_it_opens_and_is_told_what_was_done(old: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = {path: path.read_bytes() for path in old.root.rglob("*") if path.is_file()}
    there = found(old.root)
    old.settle()
    assert found(old.root) == current()
    assert (f"from format {there} to" in caplog.text) == (there != current())
    assert all(path.read_bytes() == content for path, content in before.items()), "format 1 is what was there"


def test_every_run_is_the_run_that_it_was(old: Workspace) -> None:
    runs = finished(old)
    assert len(runs) >= 10
    for folder in runs:
        spec = spec_of(folder)
        assert spec.fingerprint() == folder.status()["fingerprint"], folder.id
        network, card = load_student(folder)
        assert card.fingerprint == spec.fingerprint() and torch.isfinite(network(torch.zeros(1, 3, 8, 8)).logits).all()
        assert not folder.damage()


def test_its_teachers_are_found_again(old: Workspace) -> None:
    trained_first = spec_of(old.run("by-spec")).teacher
    assert trained_first is not None and trained_first.spec is not None
    teacher = assembly.find_finished(old, trained_first.spec.fingerprint())
    assert teacher is not None and teacher.id == old.run("by-spec").status()["teacher_run"]
    imported = records.find(old, "own")
    named = spec_of(old.run("by-import")).teacher
    assert named is not None and named.digest == imported.digest == records.of_digest(old, "own", named.digest).digest
    assert records.needed_by(old, "own") == ["run by-import"]


def test_its_comparison_misses_no_arm_and_can_be_extended(old: Workspace) -> None:
    plan = load_plan(old, "side-by-side")
    del plan.common["recipe"]["accumulate"]  # as if that had come after the release
    files.write_text(plan_file(old, plan.name), plan.to_yaml())
    now = progress(load_plan(old, plan.name), old)
    assert [cell.state for cell in now.cells] == ["finished"] * len(plan.arms) and isinstance(now.teacher, RunDirectory)
    # As it would be planned today, and one seed more.
    common = ExperimentSpec.from_mapping(plan.common).model_dump(mode="json")
    save_plan(Plan(name=plan.name, common=common, arms=plan.arms, seeds=(*plan.seeds, 7)), old)
    now = progress(load_plan(old, "side-by-side"), old)
    assert (now.count("finished"), now.count("missing")) == (len(plan.arms), len(plan.arms))


def test_its_queue_is_listed(old: Workspace) -> None:
    jobs = {job.id: job.state for job in JobStore(old).jobs()}
    assert jobs["study-tuned"] == State.FINISHED
    assert all(jobs[f"tuned-t000{number}"] == State.FINISHED for number in range(3))
    for folder in old.list_runs():
        job = JobStore(old).adopt(folder)
        assert job is not None and job.state == (State.STOPPED if folder.id == "stopped" else State.FINISHED)


def test_mlflow_has_its_runs(old: Workspace) -> None:
    folder = old.run("whole")
    assert not tracking.behind(folder)
    tracking.mirror(old, folder)
    assert f"{old.root.as_uri()}/artifacts" in _artifact_places(old)


def _artifact_places(workspace: Workspace) -> str:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(workspace.mlflow_db)) as db:
        return " ".join(place for (place,) in db.execute("SELECT artifact_uri FROM runs"))


def test_doctor_finds_nothing_wrong(old: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert f"home, format {current()}" in told
    looked_at = [line for line in told.splitlines() if line.startswith("warning")]
    assert not [line for line in looked_at if not line.split()[1].startswith(("load", "memory", "disk"))], told


def test_its_stopped_run_goes_on_bit_for_bit(old: Workspace) -> None:
    """``whole`` is the same experiment, which the release trained in one go."""
    stopped, whole = old.run("stopped"), old.run("whole")
    assert spec_of(stopped) == spec_of(whole) and stopped.status()["state"] == State.STOPPED
    result = run(spec_of(stopped), run_id="stopped", workspace=old, resume=True)
    assert result.state == State.FINISHED
    anew = run(spec_of(whole), run_id="anew", workspace=old)
    tolerance = 0.0 if same(weights_of(anew.path), weights_of(whole.path)) else ROUNDING
    ours, theirs = (checkpoint.load(folder.last_checkpoint) for folder in (stopped, whole))
    if tolerance:
        # An image at the border between two classes may fall to the other side.
        del ours["best"], theirs["best"]
    assert not list(differences(ours, theirs, "", tolerance))
    assert same(weights_of(stopped.path), weights_of(whole.path), tolerance)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "last.safetensors")


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], tolerance: float = 0.0) -> bool:
    return not list(differences(ours, theirs, "", tolerance))


def differences(ours: object, theirs: object, path: str, tolerance: float) -> Iterator[str]:
    """Where two trees of numbers and tensors differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in {**ours, **theirs}:
            yield from differences(ours.get(key), theirs.get(key), f"{path}.{key}", tolerance)
    elif isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{path}.{index}", tolerance)
    elif isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        if ours.shape != theirs.shape or not torch.allclose(ours.double(), theirs.double(), rtol=0, atol=tolerance):
            yield f"{path} {(ours.double() - theirs.double()).abs().max() if ours.shape == theirs.shape else ''}"
    elif ours != theirs:
        yield f"{path}: {ours!r}, {theirs!r}"


def test_its_study_goes_on(old: Workspace) -> None:
    study = storage.open_study(storage.connect(old), "tuned")
    assert trials.view(study, old).count("complete") == 3
    plan = storage.plan_of(study)
    content = plan.model_dump(mode="json", exclude={"budget"})
    del content["experiment"]["recipe"]["accumulate"]  # as if that had come after the release
    study.set_user_attr(storage.PLAN, content)
    assert storage.create(storage.connect(old), plan).study_name == "tuned"
    kd(old, "study", "resume", "tuned", "--trials", "4")
    study = storage.open_study(storage.connect(old), "tuned")
    now = trials.view(study, old)
    assert now.count("complete") == 4
    assert old.run("tuned-t0003").status()["state"] == State.FINISHED
