"""How busy a machine and a run on it are, as the run's "system" events: a look every few seconds.

The trainer looks itself, and not who started it: it knows its device and its own processes, it is there for runs from
a shell too, and nobody needs to outlive anybody. A look costs some milliseconds (`benchmarks/sampling.py`).

An event holds ``cpu``: share of the machine's cores that are busy, 0..1; ``cores``: how many this run's processes keep
busy; ``ram``: bytes they hold; ``ram_used``, ``ram_total``: bytes of the machine; ``disk_free``, ``disk_total``: bytes
of the workspace's disk; ``io``: bytes a second that they read or write; and with a GPU ``gpu``: ``use`` 0..1,
``processes`` that compute on it, and where the driver gives them ``used`` and ``total`` bytes and ``watts``.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from typing import Any

import psutil

from kdengine.errors import KdError
from kdengine.machine.nvml import NVML, Nvml
from kdengine.machine.visible import VARIABLE, visible
from kdengine.workspace.rundir import RunDirectory

log = logging.getLogger(__name__)

KIND = "system"
EVERY_S, MAX_EVERY_S = 5.0, 30.0
# A run of ten days would leave a hundred thousand events: the pauses grow with its age.
OF_ITS_AGE = 1 / 2000
LEAVE_S = 2.0


class Sampler:
    """Looks at the machine, at this process with its descendants, and at one GPU.

    Args:
        folder: on the disk that is watched.
        nvml: asked for the GPU.
    """

    def __init__(self, folder: Any, nvml: Nvml = NVML) -> None:
        self._folder = folder
        self._nvml = nvml
        self._gpu: Any = None
        self._process = psutil.Process()
        self._spent: dict[int, tuple[float, int]] = {}
        self._at = 0.0

    def follow(self, number: int | None) -> None:
        """From now on the ``number``-th GPU that this process sees is watched too; None: none."""
        seen = visible(environ.get(VARIABLE), self._nvml.inventory().gpus) if number is not None else []
        self._gpu = self._nvml.handle(seen[number].uuid) if number is not None and number < len(seen) else None

    def look(self) -> dict[str, Any]:
        """An event's values; rates are since the last look, so that of the first one nothing is to be kept."""
        spent, ram = self._own()
        now = time.monotonic()
        seconds = max(now - self._at, 1e-6)
        # What is new has spent all of it since; what has ended cannot be asked any more.
        earlier = [self._spent.get(pid, (0.0, 0)) for pid in spent]
        moved = [(cpu - was[0], data - was[1]) for (cpu, data), was in zip(spent.values(), earlier, strict=True)]
        self._spent, self._at = spent, now
        memory, disk = psutil.virtual_memory(), shutil.disk_usage(self._folder)
        found = {
            "cpu": round(psutil.cpu_percent() / 100, 3),
            "cores": round(sum(cpu for cpu, _ in moved) / seconds, 3),
            "io": round(sum(data for _, data in moved) / seconds),
            "ram": ram,
            "ram_used": memory.total - memory.available,
            "ram_total": memory.total,
            "disk_free": disk.free,
            "disk_total": disk.total,
        }
        gpu = self._look_at_gpu()
        return found | ({"gpu": gpu} if gpu else {})

    def _own(self) -> tuple[dict[int, tuple[float, int]], int]:
        """Of each process of the run: CPU seconds and bytes moved so far; and what all hold in memory."""
        spent, ram = {}, 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                times = process.cpu_times()
                spent[process.pid] = (times.user + times.system, _moved(process))
                ram += process.memory_info().rss
            except psutil.Error:
                continue
        return spent, ram

    def _look_at_gpu(self) -> dict[str, Any]:
        if self._gpu is None:
            return {}
        rates, memory = self._nvml.ask("UtilizationRates", self._gpu), self._nvml.ask("MemoryInfo", self._gpu)
        processes = self._nvml.ask("ComputeRunningProcesses", self._gpu)
        power = self._nvml.ask("PowerUsage", self._gpu)
        found: dict[str, Any] = {} if rates is None else {"use": rates.gpu / 100}
        found |= {} if memory is None else {"used": int(memory.used), "total": int(memory.total)}
        found |= {} if processes is None else {"processes": len(processes)}
        return found | ({} if power is None else {"watts": round(power / 1000, 1)})


@contextmanager
def sampled(run: RunDirectory, sampler: Sampler, every_s: float | None = None) -> Iterator[None]:
    """Writes what the sampler sees into the run's events, from a thread, for as long as it is entered."""
    done = threading.Event()
    pause = EVERY_S if every_s is None else every_s
    thread = threading.Thread(target=_watch, args=(run, sampler, done, pause), name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(LEAVE_S)  # a driver that hangs must not keep a run from ending


def _watch(run: RunDirectory, sampler: Sampler, done: threading.Event, every_s: float) -> None:
    began = time.monotonic()
    _looked(sampler)
    while not done.wait(max(every_s, min(MAX_EVERY_S, OF_ITS_AGE * (time.monotonic() - began)))):
        found = _looked(sampler)
        try:
            if found is not None:
                run.append_event({"kind": KIND} | found)
        except (KdError, OSError) as error:
            log.warning("how busy the machine is cannot be written down any more: %s", error)
            return


def _looked(sampler: Sampler) -> dict[str, Any] | None:
    try:
        return sampler.look()
    except (OSError, psutil.Error) as error:
        log.debug("no look at the machine: %s", error)
        return None


def _moved(process: psutil.Process) -> int:
    """Bytes that a process has read and written, from and to whatever file; 0 where the system does not count them."""
    try:
        counted = process.io_counters()  # type: ignore[attr-defined, unused-ignore]
    except (AttributeError, psutil.Error):
        return 0
    return int(counted.read_chars + counted.write_chars)
