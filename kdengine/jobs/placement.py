"""Which job may start where: one slot for each GPU, or a few slots on a machine without one."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kdengine.errors import BadInput, Problem
from kdengine.jobs.job import Job

log = logging.getLogger(__name__)

QUERY = ("nvidia-smi", "--query-gpu=index,memory.free,memory.total", "--format=csv,noheader,nounits")
QUERY_EVERY_S = 5.0
DEFAULT_MIN_FREE_MB = 4000
CONTROLLER_SLOT = "none"


class Gpu(NamedTuple):
    """One GPU: its index as nvidia-smi counts, free and whole memory in MiB."""

    number: int
    free_mb: int
    total_mb: int


class Slot(NamedTuple):
    """A place for one job, and its ``CUDA_VISIBLE_DEVICES`` (None: as the supervisor has it).

    ``threads`` is its share of the cores where several jobs share them; None leaves the choice to the job.
    """

    name: str
    cuda_visible_devices: str | None
    threads: int | None = None


def query_gpus() -> list[Gpu]:
    """The NVIDIA GPUs of this machine as nvidia-smi reports them; [] when there are none."""
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(answer)


def parse_gpus(answer: str) -> list[Gpu]:
    """Reads the answer of nvidia-smi; a line it cannot read (a GPU in error, "[N/A]") is passed over."""
    gpus = []
    for line in answer.splitlines():
        try:
            number, free, total = (int(word) for word in line.split(","))
        except ValueError:
            log.warning("nvidia-smi: cannot read %r; that GPU is not used", line)
            continue
        gpus.append(Gpu(number, free, total))
    return gpus


class Placement:
    """Finds a free slot.

    With GPUs: one job on each, on the one with the most free memory first, and only where at least
    ``KD_GPU_MIN_FREE_MB`` (default 4000) MiB are free. Runs started from a shell take no slot there: the memory they
    use is seen. Without GPUs: ``KD_CPU_SLOTS`` (default 1) jobs at once; runs started from a shell do count, because
    nothing else shows that they keep the cores busy; each job gets its share of the cores. ``CUDA_VISIBLE_DEVICES`` of
    the supervisor narrows the GPUs when it lists indices. Controllers of studies and comparisons need no slot; they
    keep the supervisor's view of the GPUs, because a controller may have to start the next supervisor.

    Args:
        query: returns the GPUs; replaced in tests.
        environment: where the two settings are read; default ``os.environ``. Raises BadInput when they are no numbers.
    """

    def __init__(
        self, query: Callable[[], list[Gpu]] = query_gpus, environment: Mapping[str, str] | None = None
    ) -> None:
        environment = os.environ if environment is None else environment
        self.cpu_slots = whole_number(environment, "KD_CPU_SLOTS", 1, least=1)
        self.min_free_mb = whole_number(environment, "KD_GPU_MIN_FREE_MB", DEFAULT_MIN_FREE_MB, least=0)
        self._allowed = _allowed_indices(environment.get("CUDA_VISIBLE_DEVICES"))
        self._query = query
        self._gpus: list[Gpu] = []
        self._asked_at: float | None = None

    def find(self, job: Job, active: Sequence[Job]) -> Slot | str:
        """A slot for ``job`` beside the ``active`` ones, or a sentence that says what it waits for."""
        if job.is_controller:
            return Slot(CONTROLLER_SLOT, None)
        gpus = self._current_gpus()
        return self._find_gpu(gpus, active) if gpus else self._find_cpu(active)

    def capacity(self) -> int:
        """How many jobs may run at once here, were all slots free."""
        return len(self._current_gpus()) or self.cpu_slots

    def _find_gpu(self, gpus: Sequence[Gpu], active: Sequence[Job]) -> Slot | str:
        taken = {job.slot for job in active}
        idle = [gpu for gpu in gpus if f"gpu:{gpu.number}" not in taken]
        if not idle:
            return "waits for a GPU: each has a job"
        best = max(idle, key=lambda gpu: gpu.free_mb)
        if best.free_mb < self.min_free_mb:
            return (
                f"waits for GPU memory: GPU {best.number} has {best.free_mb} of {best.total_mb} MiB free, "
                f"{self.min_free_mb} are wanted (KD_GPU_MIN_FREE_MB)"
            )
        return Slot(f"gpu:{best.number}", str(best.number))

    def _find_cpu(self, active: Sequence[Job]) -> Slot | str:
        working = [job for job in active if not job.is_controller]
        if len(working) >= self.cpu_slots:
            return f"waits for a slot: {len(working)} of {self.cpu_slots} in use (KD_CPU_SLOTS)"
        taken = {job.slot for job in working}
        free = next(number for number in range(self.cpu_slots) if f"cpu:{number}" not in taken)
        # Two jobs that each take all cores wait for each other's threads, far longer than one after the other.
        threads = max(1, len(os.sched_getaffinity(0)) // self.cpu_slots) if self.cpu_slots > 1 else None
        return Slot(f"cpu:{free}", "", threads)

    def _current_gpus(self) -> list[Gpu]:
        now = time.monotonic()
        if self._asked_at is None or now - self._asked_at >= QUERY_EVERY_S:
            found = self._query()
            self._gpus = [gpu for gpu in found if self._allowed is None or gpu.number in self._allowed]
            self._asked_at = now
        return self._gpus


def _allowed_indices(value: str | None) -> set[int] | None:
    """The indices ``CUDA_VISIBLE_DEVICES`` lists; None = no limit (unset, or devices named by UUID)."""
    if value is None:
        return None
    words = [word.strip() for word in value.split(",") if word.strip()]
    if not all(word.isdigit() for word in words):
        log.warning("CUDA_VISIBLE_DEVICES=%s names no indices; jobs are placed on all GPUs", value)
        return None
    return {int(word) for word in words}


def whole_number(environment: Mapping[str, str], name: str, default: int, least: int) -> int:
    """A setting from the environment; raises BadInput when it is no whole number of at least ``least``."""
    text = environment.get(name, str(default))
    if not text.isdigit() or int(text) < least:
        raise BadInput(Problem(name, f"{text!r} is not a whole number of at least {least}; unset it for {default}"))
    return int(text)
