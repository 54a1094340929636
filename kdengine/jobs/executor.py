"""Starting, asking and killing the process of a job. The seam behind which Slurm or torchrun will stand.

The contract a trainer keeps with this room:

- It is started as a session leader in its run folder, with ``KD_HOME``, ``KD_RUN_ID``, ``KD_START_TOKEN`` and
  ``CUDA_VISIBLE_DEVICES`` set; its output goes to ``log.txt``, its input is empty.
- It holds ``kdengine.workspace.files.lock(run.path / RUNNING_LOCK, blocking=False)`` for its life and leaves with exit
  code 2 when another process holds it: whatever goes wrong here, one run is never trained twice at once.
- It writes status.json: first ``state="starting"`` together with ``process=identity.process_identity(home=...)``,
  then ``running``, ``stopping``, and its own outcome last: ``finished``, ``stopped`` or ``failed`` with ``reason``,
  ``message``, ``advice``, ``exit_code``. Beside these ``attempt`` (which it counts), ``progress``, ``progress_at``,
  ``phase``, ``eta_s``. It merges (``RunDirectory.update_status``), so that ``start_token``, written before it starts,
  stays.
- SIGTERM: it ends the step, writes a checkpoint, and exits with 143. A heartbeat every 10 s comes from a thread.
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from kdengine.processes import is_alive
from kdengine.workspace import files
from kdengine.workspace.identity import process_identity
from kdengine.workspace.rundir import RunDirectory

RUNNING_LOCK = ".running.lock"
TOKEN_VARIABLE = "KD_START_TOKEN"
KILL_WAIT_S = 3.0

# A secret of the shell reaches a trainer only when its name is here. What downloads through a proxy need is here too.
PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "LC_*", "TZ", "TMPDIR", "NO_COLOR"),
    *("VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH"),
    *("KD_*", "CUDA_*", "NVIDIA_*", "CUBLAS_*", "TORCH*", "OMP_*", "MKL_*", "OPENBLAS_*", "MLFLOW_*", "HF_*"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "COVERAGE_*"),
)
# cuBLAS reads it when it starts; without it a run that asks for determinism is refused by PyTorch.
DETERMINISM = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
# The dashboard's own password is no business of a trainer.
KEPT_BACK = ("KD_*PASSWORD*", "KD_*SECRET*", TOKEN_VARIABLE)


@dataclass(frozen=True)
class StartOrder:
    """All that is needed to start a job.

    Attributes:
        argv: program and arguments, never a shell line.
        environment: variables added to the allow-list.
        token: names this start; found again in the process's environment.
    """

    run: RunDirectory
    argv: Sequence[str]
    environment: Mapping[str, str]
    token: str


class Executor(Protocol):
    """What the supervisor asks of whatever runs jobs. An identity is ``identity.process_identity()``'s dict."""

    def start(self, order: StartOrder) -> dict[str, Any]:
        """Starts the process and returns its identity. Raises OSError when it cannot be started."""

    def find(self, token: str) -> dict[str, Any] | None:
        """The identity of the leader that was started with that token, if it lives."""

    def alive(self, identity: Mapping[str, Any]) -> bool:
        """Whether exactly that process still runs."""

    def exit_code(self, identity: Mapping[str, Any]) -> int | None:
        """Its exit code, negative for a signal; None while it runs or when another supervisor started it."""

    def terminate(self, identity: Mapping[str, Any]) -> None:
        """Asks the leader to stop (SIGTERM); nothing happens when it is not that process any more."""

    def kill(self, identity: Mapping[str, Any], token: str | None) -> int:
        """Kills it with all that it started, also what it left behind; returns how many processes would not go."""


class LocalExecutor:
    """Runs jobs as processes of this machine, each in a session of its own."""

    def __init__(self) -> None:
        # By process id alone: none is used again before its end was taken, and a step of the clock moves create times.
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, order: StartOrder) -> dict[str, Any]:
        """See ``Executor``. Output is appended to ``log.txt``: a pipe that nobody reads would stop the training."""
        environment = DETERMINISM | child_environment() | dict(order.environment) | {TOKEN_VARIABLE: order.token}
        with files.disk_errors(order.run.log_file), order.run.log_file.open("ab") as output:
            child = subprocess.Popen(
                list(order.argv),
                shell=False,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                close_fds=True,
                cwd=order.run.path,
                env=environment,
            )
        identity = process_identity(child.pid, order.run.home)
        self._children[child.pid] = child
        return identity

    def find(self, token: str) -> dict[str, Any] | None:
        """See ``Executor``. Workers carry the token too; only the leader of the session is the job."""
        for process in psutil.process_iter():
            if _carries(process, token) and _session(process.pid) == process.pid and _runs(process):
                return process_identity(process.pid)
        return None

    def alive(self, identity: Mapping[str, Any]) -> bool:
        """See ``Executor``."""
        return is_alive(dict(identity))

    def exit_code(self, identity: Mapping[str, Any]) -> int | None:
        """See ``Executor``."""
        child = self._children.get(identity.get("pid") or 0)
        return None if child is None else child.poll()

    def terminate(self, identity: Mapping[str, Any]) -> None:
        """See ``Executor``."""
        if not is_alive(dict(identity)):
            return
        try:
            psutil.Process(identity["pid"]).terminate()
        except psutil.NoSuchProcess:
            return

    def kill(self, identity: Mapping[str, Any], token: str | None) -> int:
        """See ``Executor``. Repeats until nothing is left, because a process may fork while others are being killed.

        A job that this room started (``token``) loses all that inherited its token, wherever it went; one adopted from
        a shell has none, and only it and its descendants are killed.
        """
        for _ in range(5):
            members = self._members(identity, token)
            for process in members:
                _kill(process)
            left = _still_there(members, KILL_WAIT_S)
            if not members or left:
                return left
        return len(self._members(identity, token))

    def _members(self, identity: Mapping[str, Any], token: str | None) -> list[psutil.Process]:
        found: dict[int, psutil.Process] = {}
        if is_alive(dict(identity)):
            # A controller may have started this very supervisor; the other jobs below it are no part of that one.
            spared = {process.pid for process in _family(os.getpid())}
            found = {process.pid: process for process in _family(identity["pid"]) if process.pid not in spared}
        if token is not None:
            found |= {process.pid: process for process in psutil.process_iter() if _carries(process, token)}
        return [process for process in found.values() if process.pid != os.getpid() and _runs(process)]


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The part of an environment (default: this process's) that a trainer may see."""
    environment = os.environ if environment is None else environment
    passed = {name: value for name, value in environment.items() if _matches(name, PASSED_ON)}
    return {name: value for name, value in passed.items() if not _matches(name, KEPT_BACK)}


def host_oom_kills() -> int | None:
    """How many processes the kernel has killed here for lack of memory so far; None when it does not say."""
    for path in _memory_files():
        try:
            words = path.read_text().split()
        except OSError:
            continue
        if "oom_kill" in words:
            return int(words[words.index("oom_kill") + 1])
    return None


def _memory_files() -> Iterable[Path]:
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            yield root / group.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield root / "memory" / group.lstrip("/") / "memory.oom_control"
    yield root / "memory.events"


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _carries(process: psutil.Process, token: str) -> bool:
    """Whether a process was started by us with that token or inherited it; other people's processes cannot be read."""
    try:
        return process.environ().get(TOKEN_VARIABLE) == token
    except (psutil.Error, OSError):
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _still_there(members: list[psutil.Process], timeout_s: float) -> int:
    """How many run on after a while. psutil's own wait would take the exit code that Popen must report."""
    deadline = time.monotonic() + timeout_s
    while any(map(_runs, members)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return sum(map(_runs, members))


def _family(pid: int) -> list[psutil.Process]:
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()  # psutil compares the create time first: a process id that was given away is left alone
    except psutil.NoSuchProcess:
        return
