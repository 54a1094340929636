"""``kd supervise``: the process that runs the queue. ``kd ui`` and ``kd train --queue`` start it when none is alive."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd supervise``."""
    parser.add_argument("--stop-grace", type=float, default=30.0, metavar="S", help="seconds between stop and kill")


def main(options: argparse.Namespace) -> int:
    """Supervises until it is told to stop."""
    from kdengine.jobs import Supervisor
    from kdengine.rundir import RunDirectory
    from kdengine.states import State
    from kdengine.workspace import Workspace

    workspace = Workspace()

    def tell_mlflow(run: RunDirectory, state: State) -> None:
        # Imported here: a supervisor that has ended no job yet stays small.
        from kdengine import tracking

        tracking.mirror(workspace, run)

    Supervisor(workspace, on_end=tell_mlflow, stop_grace_s=options.stop_grace).run()
    return 0
