"""The finished run of an experiment: found in the workspace, resumed, or trained now."""

from __future__ import annotations

from kdengine.assembly import find_finished, preflight
from kdengine.runner import create, execute
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory


def finished_run(spec: ExperimentSpec, workspace: Workspace) -> RunDirectory:
    """Trains in this process what is missing; an interrupted run of the same fingerprint goes on."""
    found = find_finished(workspace, spec.fingerprint())
    if found:
        return found
    preflight(spec, workspace)
    begun = [run for run in workspace.list_runs() if run.status().get("fingerprint") == spec.fingerprint()]
    run = begun[-1] if begun else create(spec, workspace)
    execute(run, workspace)
    return run
