"""The plans of a workspace's comparisons on disk: ``<workspace>/comparisons/<name>/plan.yaml``."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from kdengine.comparison.plan import NAME, Plan
from kdengine.errors import BadInput, DamagedFile, Problem
from kdengine.spec import ExperimentSpec
from kdengine.workspace import Workspace, files


def save_plan(plan: Plan, workspace: Workspace) -> None:
    """Writes the plan; the same plan again changes nothing, more seeds or arms extend it.

    Raises:
        BadInput: there is a comparison of that name with another common experiment, or another arm of the same name.
    """
    workspace.settle(new=True)
    file = plan_file(workspace, plan.name)
    if file.is_file():
        _check_extends(load_plan(workspace, plan.name), plan)
    files.write_text(file, plan.to_yaml())


def joined(plan: Plan, workspace: Workspace) -> Plan:
    """The plan with what a comparison of that name has beyond it: further seeds, further arms, tuned ones.

    The command that began a comparison may be given again after it was extended, and takes nothing away.

    Args:
        plan: as it is asked for, its teachers `pinned`.
        workspace: where there may be one of that name.

    Raises:
        BadInput: as `save_plan`.
    """
    if not plan_file(workspace, plan.name).is_file():
        return plan
    known = load_plan(workspace, plan.name)
    _check_extends(known, plan)
    names = {arm.name for arm in known.arms}
    arms = (*known.arms, *(arm for arm in plan.arms if arm.name not in names))
    seeds = tuple(dict.fromkeys((*known.seeds, *plan.seeds)))
    return plan.changed(arms=arms, seeds=seeds, tuning=plan.tuning or known.tuning)


def load_plan(workspace: Workspace, name: str) -> Plan:
    """Reads a plan; raises BadInput when there is none, or the file is not one."""
    file = plan_file(workspace, name)
    try:
        return Plan.model_validate(files.read_yaml(files.read_text(file, "YAML")))
    except FileNotFoundError as error:
        known = ", ".join(list_plans(workspace)) or "none yet"
        raise BadInput(Problem("compare", f"there is no comparison {name!r}; there are: {known}")) from error
    except (yaml.YAMLError, ValidationError, DamagedFile) as error:
        raise BadInput(Problem("compare", f"{file} is not the plan of a comparison: {error}")) from error


def list_plans(workspace: Workspace) -> list[str]:
    """Names of the comparisons of a workspace, the newest first."""
    found = workspace.comparisons.glob("*/plan.yaml")
    return [path.parent.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def plan_file(workspace: Workspace, name: str) -> Path:
    """Where a plan is kept; raises BadInput for what cannot be a name ("../elsewhere" among it)."""
    if not NAME.match(name):
        raise BadInput(Problem("compare", f"{name!r} is no name (letters, digits, '.', '_', '-', 48 at most)"))
    return workspace.comparisons / name / "plan.yaml"


def _check_extends(old: Plan, new: Plan) -> None:
    where = f"there is a comparison {old.name!r} already"
    # What does not decide the result may differ: settings that came later, where it runs.
    if len({ExperimentSpec.from_mapping(plan.common).fingerprint() for plan in (old, new)}) > 1:
        raise BadInput(Problem("compare", f"{where}, of another experiment; give this one another name"))
    changes = {arm.name: arm.changes for arm in old.arms}
    other = [arm.name for arm in new.arms if changes.get(arm.name, arm.changes) != arm.changes]
    if other:
        raise BadInput(
            Problem("compare", f"{where}, with other settings for {', '.join(other)}; name them differently")
        )
