"""``kd execute``: what the supervisor starts. Output goes to the run's log by the way the process was started."""

from __future__ import annotations

import argparse
import logging

from kdengine.starting import importing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd execute``."""
    parser.add_argument("run")


def main(options: argparse.Namespace) -> int:
    """Trains the run; its outcome is in its status.json."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    with importing():
        from kdengine import runner
        from kdengine.workspace import Workspace
    workspace = Workspace()
    runner.execute(workspace.existing_run(options.run), workspace)
    return 0
