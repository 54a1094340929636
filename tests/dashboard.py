"""A ``kd ui`` process for the tests to look at, kill and start again."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from support import PATIENCE_S

from kdengine.jobs import JobStore, stop_supervisor
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

NOTING = Path(__file__).parent / "browser" / "noting.py"


class Dashboard:
    """A ``kd ui`` process on a free loopback port.

    Args:
        workspace: its workspace.
        arguments: further words for the command line.
        notes: a folder where every event handler that runs is noted (see browser/noting.py).
        environment: further variables; ``KD_TOKEN=""`` lets it make its own token.

    Attributes:
        url: its address; answers who is in.
        entry: the address with the token, which lets in.
        folder: working folder of the process.
        notes: as given.
    """

    def __init__(self, workspace: Workspace, *arguments: str, notes: Path | None = None, **environment: str) -> None:
        self.workspace = workspace
        self.notes = notes
        self.program = ["-m", "kdengine"] if notes is None else [str(NOTING)]
        environment |= {"KD_NOTES": str(notes)} if notes is not None else {}
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = environment.get("KD_TOKEN", secrets.token_urlsafe())
        self.entry = f"{self.url}/?token={self.token}"
        self.arguments = arguments
        self.environment = {"KD_TOKEN": self.token} | environment
        self.folder = Path.cwd()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Starts it (again, when it was killed) and waits until the page is there; returns the seconds that took."""
        if self.process is not None:
            self.process.wait(timeout=PATIENCE_S)
        command = [sys.executable, *self.program, "ui", "--port", str(self.port), *self.arguments]
        environment = os.environ | {"KD_HOME": str(self.workspace.root), "OMP_NUM_THREADS": "1"} | self.environment
        began = time.monotonic()
        with (self.workspace.root / "ui.log").open("ab") as output:
            self.process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        while time.monotonic() - began < PATIENCE_S:
            try:
                # A page that says "starting" comes with an error's code.
                answer = httpx.get(self.url, timeout=2, headers=self.key)
                if self.token or answer.status_code != 401:  # without a token of ours this is all that it says
                    answer.raise_for_status()
                return time.monotonic() - began
            except httpx.HTTPError:
                assert self.process.poll() is None, (self.workspace.root / "ui.log").read_text()
                time.sleep(0.1)
        raise AssertionError("the dashboard did not answer")

    @property
    def key(self) -> dict[str, str]:
        """Headers that let a program in."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal to the page server alone and waits for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(timeout=PATIENCE_S)

    def leave(self) -> None:
        """Ends the page server alone."""
        if self.process is not None and self.process.poll() is None:
            self.kill(signal.SIGTERM)

    def close(self) -> None:
        """Ends server, jobs and supervisor."""
        self.leave()
        store = JobStore(self.workspace)
        for job in store.jobs((State.QUEUED, State.STARTING, State.RUNNING, State.STOPPING)):
            store.request_kill(job.id) if job.state != State.QUEUED else store.cancel(job.id)
        deadline = time.monotonic() + PATIENCE_S
        while store.jobs((State.STARTING, State.RUNNING, State.STOPPING)) and time.monotonic() < deadline:
            time.sleep(0.1)
        stop_supervisor(self.workspace)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
