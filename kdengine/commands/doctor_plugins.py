"""What ``kd doctor`` says of entries that other packages add."""

from __future__ import annotations

from collections.abc import Iterator

from kdengine import plugins
from kdengine.commands.findings import OK, WARNING, Finding
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.workspace import Workspace

ADVICE = f"install a version that fits, or uninstall it; {plugins.VARIABLE}=off leaves out all plug-ins"


def plugins_found(workspace: Workspace) -> Iterator[Finding]:
    """A line for each plug-in that could not be loaded, and one for the rest."""
    if plugins.switched_off():
        yield Finding(OK, "plug-ins", f"switched off by {plugins.VARIABLE}")
        return
    commands = map(plugins.load, plugins.points(plugins.COMMANDS))
    failures = [found for found in commands if isinstance(found, plugins.Failure)]
    failures += [failure for registry in (DATASETS, MODELS, METHODS) for failure in registry.failures()]
    for failure in failures:
        yield Finding(WARNING, "plug-ins", str(failure), ADVICE)
    if not failures:
        yield Finding(OK, "plug-ins", "all that are installed could be loaded")
