"""Trains, or resumes, what a spec describes, in this process."""

from __future__ import annotations

from kdengine import assembly
from kdengine.errors import BadInput, Problem
from kdengine.runner.execution import check_data, create, execute
from kdengine.runner.result import RunResult
from kdengine.spec import ExperimentSpec, with_absolute_paths
from kdengine.workspace import Workspace


def run(
    spec: ExperimentSpec, *, run_id: str | None = None, workspace: Workspace | None = None, resume: bool = False
) -> RunResult:
    """Trains, or resumes, what the spec describes, in this process.

    Args:
        spec: the experiment; a teacher given as a spec is trained first, as a run of its own.
        run_id: id of the run; a fresh one by default.
        workspace: by default the one of ``KD_HOME``.
        resume: continue the run ``run_id``, which must exist; its own spec is used.

    Raises:
        BadInput: the request is wrong; nothing was written. Every problem is named.
        KdError: the run failed or was stopped; its folder says why.
    """
    workspace = workspace or Workspace()
    if resume:
        if run_id is None:
            raise BadInput(Problem("run", "resume=True needs the id of the run to continue"))
        folder = workspace.existing_run(run_id)
        check_data(folder, workspace)
    else:
        spec = ExperimentSpec.from_mapping(with_absolute_paths(spec.model_dump(mode="json")))
        assembly.preflight(spec, workspace)
        folder = create(spec, workspace, run_id)
    return execute(folder, workspace)
