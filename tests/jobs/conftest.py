"""A workspace for each test, supervisors as processes or step by step, and the check that no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from support import PATIENCE_S

from kdengine.jobs import Job, JobLabels, JobStore, Placement, Supervisor
from kdengine.machine.nvml import Inventory
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

HERE = Path(__file__).parent


class House:
    """A workspace with what a test does to it."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)
        self.store = JobStore(self.workspace)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ended: list[tuple[str, State]] = []

    def submit(
        self, run_id: str, *, after: str | None = None, token: str | None = None, device: str = "", **fake: Any
    ) -> Job:
        runtime = {"runtime": {"device": device}} if device else {}
        spec = yaml.safe_dump({"data": {"name": "digits"}, "fake": fake} | runtime)
        labels = JobLabels(name=run_id, dataset="digits")
        return self.store.submit(spec, run_id=run_id, command="kd train", labels=labels, after=after, token=token)

    def trainer_command(self, job: Job) -> list[str]:
        return [sys.executable, str(HERE / "fake_trainer.py"), str(self.workspace.run(job.id).path)]

    def supervisor(self, **options: Any) -> Supervisor:
        """One that the test drives with ``tick()`` or runs in a thread."""
        options.setdefault("placement", Placement(query=Inventory, environment={}))
        options.setdefault("command_for", self.trainer_command)
        on_end: Callable[..., None] = lambda run, state: self.ended.append((run.id, state))  # noqa: E731
        return Supervisor(self.workspace, on_end=on_end, poll_s=0.02, scan_s=0.05, **options)

    def start_supervisor(self, **environment: str) -> subprocess.Popen[bytes]:
        """One in a process of its own."""
        environment = dict(os.environ) | {"KD_HOME": str(self.workspace.root)} | environment
        process = subprocess.Popen(
            [sys.executable, str(HERE / "fake_supervisor.py")], env=environment, stderr=subprocess.PIPE
        )
        self.processes.append(process)
        return process

    def state(self, job_id: str) -> State:
        return self.store.get(job_id).state

    def wait(self, condition: Callable[[], Any], *, tick: Supervisor | None = None) -> None:
        """Waits until the condition holds, ticking a supervisor meanwhile; fails with the table otherwise."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                table = [(job.id, str(job.state), job.message) for job in self.store.jobs()]
                raise AssertionError(f"waited {PATIENCE_S} s in vain; jobs: {table}")
            if tick is not None:
                tick.tick()
            time.sleep(0.02)

    def wait_state(self, job_id: str, state: State, **options: Any) -> None:
        self.wait(lambda: self.state(job_id) is state, **options)

    def wait_ended(self, *job_ids: str, **options: Any) -> None:
        self.wait(lambda: all(self.state(job_id).ended for job_id in job_ids), **options)

    def starts(self, job_id: str) -> int:
        file = self.workspace.run(job_id).path / "starts.txt"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def started_at(self, job_id: str) -> float:
        return float((self.workspace.run(job_id).path / "starts.txt").read_text().split()[1])

    def steps(self, job_id: str) -> list[int]:
        return [event["step"] for event in self.workspace.run(job_id).events("step")]

    def members(self) -> list[psutil.Process]:
        """Every process, trainer or worker, that was started in this workspace's run folders."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.workspace.runs) and process.status() != "zombie":
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()
        for process in self.members():
            process.kill()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "home")
    yield house
    house.close()
