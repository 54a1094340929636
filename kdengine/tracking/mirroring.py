"""When runs are written to MLflow: beside the training, never in its way; and again for what it missed.

Nothing is kept here that matters: what is owed stands in the runs' folders (`tracking.behind`) and in the list of
deletions. Threads are daemons: a server that is silent keeps no process from ending.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from kdengine import tracking
from kdengine.errors import DamagedFile, KdError
from kdengine.jobs.executor import RUNNING_LOCK
from kdengine.workspace import Workspace, files
from kdengine.workspace.rundir import RunDirectory

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
# The end of a run: a database beside it takes what it takes; a server has a moment, less than a stop is given.
OWN_STORE_WAIT_S, SERVER_WAIT_S = 120.0, 20.0
LOOK_S = 300.0
LEAVE_S = 2.0


@dataclass
class Outcome:
    """What catching up has come to.

    Attributes:
        caught_up: ids of the runs whose MLflow runs lack nothing now; ``deleted`` those of MLflow runs deleted there.
        owed: run id, or MLflow's own, -> why it is still owed.
        silent: why the server cannot be reached; "" when it can, or was not asked.
    """

    caught_up: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    owed: dict[str, str] = field(default_factory=dict)
    silent: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing is owed any more."""
        return not self.owed


def owed(workspace: Workspace) -> list[RunDirectory]:
    """Runs whose MLflow runs are behind, oldest first; without those under way, which look after their own."""
    return [run for run in workspace.list_runs() if _is_behind(run) and not files.is_held(run.path / RUNNING_LOCK)]


def catch_up(
    workspace: Workspace, runs: Sequence[RunDirectory] | None = None, leave: Callable[[], bool] = lambda: False
) -> Outcome:
    """Writes to MLflow what it has missed. Never raises for one run, nor for a server that is silent.

    Args:
        workspace: whose MLflow it is.
        runs: which; default all that are `owed`, and the deletions too.
        leave: asked before each run; the rest stays owed when it says so.
    """
    outcome = Outcome()
    if not tracking.available():
        return outcome
    debts: list[tuple[str, Callable[[], None], list[str]]] = []
    for run in owed(workspace) if runs is None else runs:
        debts.append((run.id, _mirroring(workspace, run), outcome.caught_up))
    for mlflow_run in tracking.owed_deletions(workspace) if runs is None else ():
        debts.append((mlflow_run, _deleting(workspace, mlflow_run), outcome.deleted))
    for name, pay, paid in debts:
        if outcome.silent or leave():
            outcome.owed[name] = outcome.silent or "not yet its turn"
            continue
        try:
            pay()
        except tracking.Unreachable as error:
            outcome.silent = outcome.owed[name] = str(error)
        except KdError as error:
            outcome.owed[name] = str(error)
        else:
            paid.append(name)
    return outcome


def _mirroring(workspace: Workspace, run: RunDirectory) -> Callable[[], None]:
    return lambda: tracking.mirror(workspace, run)


def _deleting(workspace: Workspace, mlflow_run: str) -> Callable[[], None]:
    return lambda: tracking.delete_owed(workspace, mlflow_run)


def _is_behind(run: RunDirectory) -> bool:
    try:
        return tracking.behind(run)
    except DamagedFile:
        return True  # MLflow lacks it, and whoever catches up learns why


class Companion:
    """Mirrors one run in a thread beside whoever works on it, then what other runs have left owed.

    Args:
        workspace: whose MLflow it is.
        run: which run; it is mirrored as it stands on the disk at the time.
    """

    def __init__(self, workspace: Workspace, run: RunDirectory) -> None:
        self.workspace = workspace
        self.run = run
        self._thread: threading.Thread | None = None
        self._news = threading.Event()
        self._ending = threading.Event()
        self._failure = ""
        self._left = False  # nobody waits any more: the process may be ending, and nothing is to be said

    def wake(self) -> None:
        """Says that there is something new; returns at once. MLflow is imported at the first time, in the thread."""
        if not tracking.available():
            return
        self._news.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Mirrors the end, and waits a moment for that; what MLflow has not taken then is owed."""
        self._ending.set()
        self.wake()
        if self._thread is None:
            return
        self._thread.join(OWN_STORE_WAIT_S if tracking.own_store() else SERVER_WAIT_S)
        self._left = self._thread.is_alive()
        if self._left or self._failure:
            log.warning("MLflow lacks the end of %s; `kd sync`, or the next run, makes up for it", self.run.id)

    def _work(self) -> None:
        pause, others = 0.0, True
        while True:
            self._news.wait()
            self._ending.wait(pause)
            self._news.clear()
            last = self._ending.is_set()  # after the clearing: what comes from now on is for the next round
            pause = 0.0 if self._mirror() else _longer(pause)
            if last:
                return
            if pause:
                self._news.set()
            elif others:
                others = False
                catch_up(self.workspace, leave=self._ending.is_set)

    def _mirror(self) -> bool:
        try:
            tracking.mirror(self.workspace, self.run)
        except KdError as error:
            if not self._failure and not self._left:
                log.warning("%s; the run goes on, and MLflow is brought up to date later", error)
            self._failure = str(error)
        except Exception as error:  # a thread that died would mirror nothing more
            self._failure = f"{type(error).__name__}: {error}"
            log.exception("MLflow could not be brought up to date with %s", self.run.id)
        else:
            self._failure = ""
        return not self._failure


class Courier:
    """Catches up for a whole workspace, in a thread of the supervisor, for as long as that lives.

    MLflow is imported only when something is owed: a supervisor with nothing owed stays small.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._news = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._said = ""

    def start(self) -> None:
        """Begins with what is owed from before."""
        self._thread.start()

    def wake(self) -> None:
        """Says that a run has ended; returns at once."""
        self._news.set()

    def leave(self) -> None:
        """Ends after the run in hand; waits two seconds for that."""
        self._leaving.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(LEAVE_S)

    def _work(self) -> None:
        pause = 0.0
        while not self._leaving.is_set():
            self._news.clear()
            settled = self._catch_up()
            pause = 0.0 if settled else _longer(pause)
            if pause:
                self._leaving.wait(pause)
            else:
                self._news.wait(LOOK_S)

    def _catch_up(self) -> bool:
        try:
            outcome = catch_up(self.workspace, leave=self._leaving.is_set)
        except Exception:  # a folder that cannot be read today
            log.exception("MLflow could not be caught up")
            return False
        why = outcome.silent or next(iter(outcome.owed.values()), "")
        if why and why != self._said:
            log.warning("%s; %d are owed and written later (`kd sync` at once)", why, len(outcome.owed))
        self._said = why
        return outcome.settled


def _longer(pause: float) -> float:
    return min(max(FIRST_PAUSE_S, 2 * pause), LONGEST_PAUSE_S)
