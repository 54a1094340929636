"""A supervisor of the workspace in KD_HOME, as a process of its own, that starts fake trainers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kdengine.jobs import Placement, Supervisor
from kdengine.jobs.job import Job
from kdengine.machine.nvml import Inventory
from kdengine.workspace import Workspace

TRAINER = Path(__file__).with_name("fake_trainer.py")


def main() -> None:
    workspace = Workspace()

    def command_for(job: Job) -> list[str]:
        return [sys.executable, str(TRAINER), str(workspace.run(job.id).path)]

    slots = Placement(query=Inventory, environment={"KD_CPU_SLOTS": os.environ.get("KD_CPU_SLOTS", "1")})
    supervisor = Supervisor(
        workspace, command_for=command_for, placement=slots, poll_s=0.05, stop_grace_s=1.0, scan_s=0.1
    )
    if not supervisor.run():
        sys.stderr.write("left\n")


if __name__ == "__main__":
    main()
