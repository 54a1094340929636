"""Several seeds at once: all runs are queued or none, and a form sent twice is launched once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import distilled_spec, tiny_spec

from kdengine.assembly.launch import launch_all
from kdengine.cli import main
from kdengine.errors import BadInput
from kdengine.jobs import JobStore
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace


def seeds_queued(workspace: Workspace) -> list[int]:
    specs = [workspace.run(job.id).spec_text() for job in JobStore(workspace).jobs()]
    return sorted(ExperimentSpec.from_yaml(text).seed for text in specs)


def test_every_seed_is_a_run_and_the_teacher_is_shared(workspace: Workspace) -> None:
    specs = [distilled_spec(seed=seed) for seed in (4, 5)]
    jobs = launch_all(specs, workspace, token="form")
    assert [job.after for job in jobs] == [None, jobs[0].id, jobs[0].id], "one teacher for both"
    assert seeds_queued(workspace) == [0, 4, 5]
    again = launch_all(specs, workspace, token="form")
    assert [job.id for job in again] == [job.id for job in jobs[1:]] and len(JobStore(workspace).jobs()) == 3


def test_one_that_cannot_be_keeps_all_out(workspace: Workspace) -> None:
    good, bad = tiny_spec(), tiny_spec(recipe={"batch_size": 5000}, seed=1)
    with pytest.raises(BadInput, match="larger than the"):
        launch_all([good, bad], workspace)
    assert JobStore(workspace).jobs() == [] and not list(workspace.list_runs())


@pytest.mark.parametrize(
    ("words", "said"), [(["--seeds", "0"], "expected 1 or more"), (["--seeds", "2", "--run-id", "x"], "several seeds")]
)
def test_the_shell_refuses_what_makes_no_sense(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["train", "--student", "resnet20", "--method", "none", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(workspace.list_runs())


def test_the_shell_trains_one_seed_after_the_other(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(tiny_spec(seed=7, recipe={"epochs": 1}).to_yaml())
    assert main(["train", "--spec", str(file), "--seeds", "2"]) == 0
    ids = capsys.readouterr().out.split()
    assert [ExperimentSpec.from_yaml(workspace.run(i).spec_text()).seed for i in ids] == [7, 8]
    assert all(workspace.run(i).status()["state"] == "finished" for i in ids)
