"""``kd supervise``: the process that runs the queue. ``kd ui`` and ``kd train --queue`` start it when none is alive."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``kd supervise``."""
    parser.add_argument("--stop-grace", type=float, default=30.0, metavar="S", help="seconds between stop and kill")


def main(options: argparse.Namespace) -> int:
    """Supervises until it is asked to stop."""
    from kdengine.jobs import Supervisor
    from kdengine.tracking.mirroring import Courier
    from kdengine.workspace import Workspace

    workspace = Workspace()
    courier = Courier(workspace)
    supervisor = Supervisor(
        workspace,
        on_begin=courier.start,
        on_end=lambda run, state: courier.wake(),
        stop_grace_s=options.stop_grace,
    )
    supervisor.run()
    courier.leave()
    return 0
