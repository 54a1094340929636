"""Plans of comparisons by name, kept between the refreshes of a page."""

from __future__ import annotations

from kdengine.comparison.plan import Plan
from kdengine.comparison.stored_plans import load_plan, plan_file
from kdengine.workspace import Workspace


class Plans:
    """Plans by name, read again only when their file was written again.

    Args:
        workspace: whose they are.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, tuple[int, Plan]] = {}

    def get(self, name: str) -> Plan:
        """The plan; raises BadInput when there is none."""
        file = plan_file(self._workspace, name)
        written = file.stat().st_mtime_ns if file.exists() else 0
        known = self._known.get(name)
        if known is None or known[0] != written:
            known = (written, load_plan(self._workspace, name))
            self._known[name] = known
        return known[1]
