"""``kd resume``: continue a stopped, failed or lost run from its last checkpoint."""

from __future__ import annotations

import argparse
import sys

from kdengine.commands.console import add_data_changed
from kdengine.errors import BadInput, Problem
from kdengine.jobs.job import CONTROLLER_KINDS
from kdengine.starting import importing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd resume``."""
    parser.add_argument("run", help="id of the run, or a unique beginning or end of it")
    add_data_changed(parser)


def main(options: argparse.Namespace) -> int:
    """Trains what is left."""
    from kdengine.workspace import Workspace

    workspace = Workspace()
    folder = workspace.existing_run(options.run)
    kind = folder.status().get("kind")
    if kind in CONTROLLER_KINDS:
        raise BadInput(Problem("run", f"{folder.id} steers a {kind}; take it up again: {folder.command()}"))
    with importing():
        from kdengine import runner
        from kdengine.commands.console import training
    runner.check_data(folder, workspace, accept=options.data_changed is not None)
    with training(folder):
        result = runner.execute(folder, workspace)
    sys.stdout.write(f"{result.run_id}\n")
    return 0
