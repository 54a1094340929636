"""What the bar of every page shows of the machine, at ``/machine``: how many runs run and wait, how busy it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse

from app.text import memory
from kdengine.jobs import JobStore, as_it_is, supervisor_alive
from kdengine.jobs.job import UNENDED
from kdengine.machine.nvml import NVML, Nvml
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

PATH = "/machine"
KEPT_S = 2.0  # however many tabs are open, the machine is looked at once in that time

Part = dict[str, str]
"""``text``, and its ``kind``: "running", "waiting", "idle", "gpu" or "cpu"."""


class Machine:
    """Looks at a workspace and at the machine.

    Args:
        workspace: whose runs are counted.
        nvml: asked for the GPUs.
        clock: seconds.
    """

    def __init__(self, workspace: Workspace, nvml: Nvml = NVML, clock: Callable[[], float] = time.monotonic) -> None:
        self._workspace = workspace
        self._store = JobStore(workspace)
        self._nvml = nvml
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = -KEPT_S
        self._parts: list[Part] = []

    def parts(self) -> list[Part]:
        """What is to be shown, from left to right."""
        with self._lock:
            if self._clock() - self._looked_at >= KEPT_S:
                self._parts = [*self._runs(), *self._load()]
                self._looked_at = self._clock()
            return self._parts

    def _runs(self) -> list[Part]:
        jobs = self._store.jobs(UNENDED)
        if not supervisor_alive(self._workspace):
            jobs = [as_it_is(job, self._workspace.run(job.id).status(), self._workspace.root) for job in jobs]
        waiting = sum(job.state is State.QUEUED for job in jobs)
        running = sum(not job.state.ended for job in jobs) - waiting
        counts = {"running": running, "waiting": waiting}
        return [{"text": f"{count} {kind}", "kind": kind} for kind, count in counts.items() if count] or [
            {"text": "idle", "kind": "idle"}
        ]

    def _load(self) -> list[Part]:
        gpus = [gpu for gpu in self._nvml.inventory().gpus if not gpu.trouble]
        if not gpus:
            return [{"text": f"CPU {psutil.cpu_percent():.0f} %", "kind": "cpu"}]
        return [{"text": self._gpu(gpu, len(gpus) > 1), "kind": "gpu"} for gpu in gpus]

    def _gpu(self, gpu: Any, is_one_of_several: bool) -> str:
        name = f"GPU {gpu.ordinal}" if is_one_of_several else "GPU"
        handle = self._nvml.handle(gpu.uuid)
        rates = self._nvml.ask("UtilizationRates", handle) if handle is not None else None
        use = f"{rates.gpu} %" if rates is not None else ""
        used = memory(gpu.total - gpu.free) if gpu.total and gpu.free is not None else ""
        return " ".join(filter(None, (name, use, used)))


def responding(machine: Machine) -> Callable[[Request], Awaitable[JSONResponse]]:
    """The handler of the address."""

    async def respond(request: Request) -> JSONResponse:
        parts = await run_sync(machine.parts)
        return JSONResponse({"parts": parts}, headers={"Cache-Control": "no-store"})

    return respond
