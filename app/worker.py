"""What computes for a page runs in a process of its own: a crash or lack of memory there never takes the page down."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as Late
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from typing import Any

from app import tasks
from kdengine.errors import BadInput, KdError, Problem

Run = Callable[[str, str, tuple[Any, ...]], dict[str, Any]]

PATIENCE_S = 600.0
# Long enough for one view after the other; meanwhile nobody else can use that memory of the GPU.
GIVE_BACK_S = 30.0


class Worker:
    """One child process that runs the functions of `app.tasks` one after the other.

    It lives long, for its imports take seconds; but one that has a CUDA context, half a GB of a GPU, ends when it was
    idle for a while: only its end gives that memory back to the training.

    Args:
        home: the workspace folder.
        run: what runs a task in the process.
        give_back_s: seconds that one with a CUDA context waits for the next task.
    """

    def __init__(self, home: str, run: Run = tasks.run, give_back_s: float = GIVE_BACK_S) -> None:
        self._home = home
        self._run = run
        self._give_back_s = give_back_s
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._calls = 0
        self._timer: threading.Timer | None = None

    def call(self, task: str, *arguments: Any, patience_s: float = PATIENCE_S) -> Any:
        """Runs a task and returns its result.

        Raises:
            BadInput: what the task refused, problem by problem.
            KdError: what went wrong in it, or that the process died; the next call gets a fresh one.
        """
        pool, on_gpu = self._enter(), False
        try:
            reply = pool.submit(self._run, task, self._home, arguments).result(timeout=patience_s)
            on_gpu = bool(reply.get("on_gpu"))
        except BrokenProcessPool as error:
            self._discard(pool)
            raise KdError(
                "the computation died (out of memory, perhaps); try a smaller network or image size"
            ) from error
        except Late as error:
            self._discard(pool)
            raise KdError(f"no result within {patience_s:.0f} s; the computation was stopped") from error
        finally:
            self._leave(pool, on_gpu)
        if "problems" in reply:
            raise BadInput([Problem(field, message) for field, message in reply["problems"]])
        if "error" in reply:
            raise KdError(reply["error"])
        return reply["result"]

    def warm(self) -> None:
        """Starts the process and its imports; a failure shows itself at the first real call."""
        with contextlib.suppress(KdError):
            self.call("warm")

    def close(self) -> None:
        """Ends the process."""
        if self._pool is not None:
            self._discard(self._pool)

    def _enter(self) -> ProcessPoolExecutor:
        """The process, which is not ended before `_leave`."""
        with self._lock:
            self._calls += 1
            self._stop_timer()
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(
                    1, mp_context=context, initializer=tasks.start, initargs=(os.getpid(),)
                )
            return self._pool

    def _leave(self, pool: ProcessPoolExecutor, on_gpu: bool) -> None:
        with self._lock:
            self._calls -= 1
            if on_gpu and not self._calls and self._pool is pool:
                self._timer = threading.Timer(self._give_back_s, self._give_back, (pool,))
                self._timer.daemon = True
                self._timer.start()

    def _give_back(self, pool: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._calls or self._pool is not pool:
                return
            self._pool = None
        self._discard(pool)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _discard(self, pool: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is pool:
                self._pool = None
                self._stop_timer()
        for process in list(getattr(pool, "_processes", None) or {}):
            _end(process)
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Workers:
    """The processes behind the pages, by what waits for them: none of these waits for another.

    Attributes:
        measuring: costs and checks of what is about to be launched.
        acting: what a click begins: runs, comparisons, studies.
        viewing: what Inspect and Demo show.
        background: what takes minutes: exports, measurements of comparisons.
    """

    measuring: Worker
    acting: Worker
    viewing: Worker
    background: Worker

    @classmethod
    def of(cls, home: str) -> Workers:
        """Workers of a workspace; a process starts with its first task."""
        return cls(*(Worker(home) for _ in fields(cls)))

    def close(self) -> None:
        """Ends all processes."""
        for each in fields(self):
            getattr(self, each.name).close()


def _end(pid: int) -> None:
    import psutil

    try:
        psutil.Process(pid).kill()
    except psutil.NoSuchProcess:
        return
