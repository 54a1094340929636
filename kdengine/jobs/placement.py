"""Which job may start where: one slot or several on each GPU, or a few on the cores."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import psutil

from kdengine.errors import BadInput, Problem
from kdengine.jobs.job import Job
from kdengine.jobs.settings import jobs_per_gpu
from kdengine.machine.nvml import NO_DRIVER, Gpu, Inventory, look
from kdengine.machine.visible import ORDER, VARIABLE, hidden, nothing_to_see, visible
from kdengine.workspace import Workspace

log = logging.getLogger(__name__)

QUERY_EVERY_S = 5.0
DEFAULT_MIN_FREE_MB = 4000
MIB = 1 << 20
# A job that has just started has yet to take its memory; so long, what a GPU must have free is kept for it.
SETTLING_S = 60.0
CONTROLLER_SLOT = "none"
PLACED_ON = "KD_PLACED_ON"
"""Says to a trainer that it was given one GPU (its UUID): that is ``cuda:0`` to it, whatever its spec calls it."""
NO_GPU = "KD_NO_GPU"
"""Says to a trainer why it was given none though the machine seems to have one."""


class Slot(NamedTuple):
    """A place for one job.

    Attributes:
        name: "gpu:0", "gpu:0/1" for a slice of one that MIG has divided, "cpu:0", or "none" for a controller.
        cuda_visible_devices: UUID of its GPU; "" for none; None: as the supervisor has it.
        threads: its share of the cores where several jobs share them; None leaves the choice to the job.
        lacking: why a job that would take a GPU is placed on the cores, in words; "" where nothing is missed.
    """

    name: str
    cuda_visible_devices: str | None
    threads: int | None = None
    lacking: str = ""

    def environment(self) -> dict[str, str]:
        """The variables that keep a job to its place."""
        if self.cuda_visible_devices is None:
            return {}
        found = ORDER | {VARIABLE: self.cuda_visible_devices}
        if self.threads is not None:
            found |= {"KD_CORES": str(self.threads)}
        return found | {PLACED_ON: self.cuda_visible_devices, NO_GPU: self.lacking}


class Placement:
    """Finds a free slot.

    With GPUs: ``KD_JOBS_PER_GPU`` (default 1) on each, on the one with the fewest jobs and then the most free memory,
    and only where at least ``KD_GPU_MIN_FREE_MB`` (default 4000) MiB are free for it. Runs started from a shell take
    no slot there: the memory they use is seen. A slice made by MIG counts as a GPU. ``CUDA_VISIBLE_DEVICES`` of the
    supervisor narrows them by CUDA's own rule, with indices as nvidia-smi counts.

    Without GPUs, and for jobs that ask for the CPU: ``KD_CPU_SLOTS`` (default 1) at once. On a machine without GPUs
    runs started from a shell do count, because nothing else shows that they keep the cores busy. Where several jobs
    may run at once, each gets its share of the cores. Controllers of studies and comparisons need no slot; they keep
    the supervisor's view of the GPUs, because a controller may have to start the next supervisor.

    Args:
        query: returns what GPUs there are; replaced in tests.
        environment: where the settings are read; default ``os.environ``. Raises BadInput when they are no numbers.
        per_gpu: how many jobs a GPU takes, where that was set while the supervisor works; None: as the environment
            says.
    """

    def __init__(
        self,
        query: Callable[[], Inventory] | None = None,
        environment: Mapping[str, str] | None = None,
        per_gpu: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._environment = os.environ if environment is None else environment
        self.cpu_slots = whole_number(self._environment, "KD_CPU_SLOTS", 1, least=1)
        self.min_free_mb = whole_number(self._environment, "KD_GPU_MIN_FREE_MB", DEFAULT_MIN_FREE_MB, least=0)
        self._per_gpu_default = whole_number(self._environment, "KD_JOBS_PER_GPU", 1, least=1)
        self._per_gpu = per_gpu
        self._query = query or look
        self._inventory = Inventory()
        self._asked_at: float | None = None
        self._said: list[str] = []

    @property
    def jobs_per_gpu(self) -> int:
        """How many jobs a GPU takes at once."""
        return self._per_gpu() or self._per_gpu_default

    def find(self, job: Job, active: Sequence[Job], wanted: str = "auto") -> Slot | str:
        """A slot for ``job`` beside the ``active`` ones, or a sentence that says what it waits for.

        Args:
            wanted: the device that its spec names: auto, cpu, cuda, or cuda:n for the nth that is shown here.
        """
        if job.is_controller:
            return Slot(CONTROLLER_SLOT, None)
        if wanted == "cpu":
            return self._find_cpu(active)
        gpus = self._visible()
        if wanted.startswith("cuda:"):
            number = int(wanted.removeprefix("cuda:"))
            if gpus and number >= len(gpus):
                there = ", ".join(f"cuda:{index}" for index in range(len(gpus)))
                return f"waits for {wanted}, which is not here; there are: {there}"
            gpus = gpus[number : number + 1]
        if gpus:
            return self._find_gpu(gpus, active)
        why = self._why_none()
        if wanted == "auto":
            slot = self._find_cpu(active)
            return slot._replace(lacking=why) if isinstance(slot, Slot) else slot
        return f"waits for a GPU, since it asks for {wanted}: {why or self._plainly_none()}"

    def capacity(self) -> int:
        """How many jobs may run at once here, were all slots free."""
        return len(self._visible()) * self.jobs_per_gpu or self.cpu_slots

    def _find_gpu(self, gpus: Sequence[Gpu], active: Sequence[Job]) -> Slot | str:
        most = self.jobs_per_gpu
        beside = {gpu.uuid: [job for job in active if is_on(job, gpu)] for gpu in gpus}
        open_ones = [gpu for gpu in gpus if len(beside[gpu.uuid]) < most]
        if not open_ones:
            if len(gpus) == 1:
                gpu = gpus[0]
                return f"waits for GPU {gpu.slot.removeprefix('gpu:')}: it has {_counted(len(beside[gpu.uuid]))}"
            return "waits for a GPU: each has a job" if most == 1 else f"waits for a GPU: each has {most} jobs"
        free = {gpu.uuid: _free_mb(gpu) - self.min_free_mb * _settling(beside[gpu.uuid]) for gpu in open_ones}
        enough = [gpu for gpu in open_ones if free[gpu.uuid] >= self.min_free_mb]
        if not enough:
            best = max(open_ones, key=lambda gpu: free[gpu.uuid])
            return self._too_full(best, free[best.uuid], _settling(beside[best.uuid]))
        best = min(enough, key=lambda gpu: (len(beside[gpu.uuid]), -free[gpu.uuid]))
        return Slot(best.slot, best.uuid, self._share())

    def _too_full(self, gpu: Gpu, free_mb: float, settling: int) -> str:
        kept = f" beside what {_counted(settling)} just started may take" if settling else ""
        total = psutil.virtual_memory().total if gpu.total is None else gpu.total
        return (
            f"waits for GPU memory: GPU {gpu.slot.removeprefix('gpu:')} has {max(0, free_mb):.0f} of {total // MIB} "
            f"MiB free{kept}, {self.min_free_mb} are wanted (KD_GPU_MIN_FREE_MB)"
        )

    def _find_cpu(self, active: Sequence[Job]) -> Slot | str:
        with_gpus = bool(self._visible())
        working = [job for job in active if not job.is_controller and (not with_gpus or _on_cores(job))]
        if len(working) >= self.cpu_slots:
            return f"waits for a slot: {len(working)} of {self.cpu_slots} in use (KD_CPU_SLOTS)"
        taken = {job.slot for job in working}
        free = next(number for number in range(self.cpu_slots) if f"cpu:{number}" not in taken)
        return Slot(f"cpu:{free}", "", self._share(self.cpu_slots))

    def _share(self, at_once: int = 1) -> int | None:
        """Threads of a job. Two that each take all cores wait for each other, far longer than one after the other."""
        at_once = max(at_once, self.capacity())
        return max(1, len(os.sched_getaffinity(0)) // at_once) if at_once > 1 else None

    def _visible(self) -> list[Gpu]:
        return visible(self._environment.get(VARIABLE), self._current().gpus)

    def _why_none(self) -> str:
        return nothing_to_see(self._current(), self._environment)

    def _plainly_none(self) -> str:
        inventory = self._current()
        value = self._environment.get(VARIABLE)
        if not inventory.absent and hidden(value):
            return f"{VARIABLE}={value} hides all"
        return inventory.trouble or NO_DRIVER

    def _current(self) -> Inventory:
        now = time.monotonic()
        if self._asked_at is None or now - self._asked_at >= QUERY_EVERY_S:
            self._inventory = self._query()
            self._asked_at = now
            troubles = [] if self._inventory.absent else self._inventory.troubles
            for trouble in troubles:
                if trouble not in self._said:
                    log.warning("a GPU cannot be used: %s", trouble)
            self._said = troubles
        return self._inventory


def slots(workspace: Workspace) -> int:
    """How many runs this machine takes at once, as the settings of the workspace say."""
    return Placement(per_gpu=partial(jobs_per_gpu, workspace)).capacity()


def as_placed(device: str, environment: Mapping[str, str] | None = None) -> str:
    """What a spec's device is called in this process: the supervisor shows a trainer the one GPU that it was given."""
    environment = os.environ if environment is None else environment
    return "cuda" if environment.get(PLACED_ON) and device.startswith("cuda") else device


def why_no_gpu(
    device: str, environment: Mapping[str, str] | None = None, query: Callable[[], Inventory] | None = None
) -> str:
    """Why a run that would take a GPU computes on the CPU, in words; "" where it asks for the CPU, or misses nothing.

    To be asked in the process that computes, once torch has found no GPU.
    """
    environment = os.environ if environment is None else environment
    if device == "cpu":
        return ""
    if environment.get(NO_GPU) or environment.get(PLACED_ON) == "":
        return environment.get(NO_GPU, "")
    inventory = (query or look)()
    if inventory.absent or hidden(environment.get(VARIABLE)):
        return ""
    seen = visible(environment.get(VARIABLE), inventory.gpus)
    if not seen:
        return nothing_to_see(inventory, environment)
    return f"the driver ({inventory.driver}) shows {seen[0].name}, but this torch cannot use it; `kd doctor` says more"


def is_on(job: Job, gpu: Gpu) -> bool:
    """Whether a job is on that GPU. By its UUID, since indices shift when a GPU is lost; earlier versions kept none."""
    by_index = job.slot == gpu.slot and (job.device or "").isdigit()
    return job.device == gpu.uuid or by_index


def _on_cores(job: Job) -> bool:
    return (job.slot or "").startswith("cpu:")


def _settling(jobs: Sequence[Job]) -> int:
    return sum(time.time() - (job.started or 0) < SETTLING_S for job in jobs)


def _free_mb(gpu: Gpu) -> float:
    """Free memory in MiB; of the machine where it shares that; without end where the driver does not say."""
    if gpu.unified:
        return psutil.virtual_memory().available / MIB
    return float("inf") if gpu.free is None else gpu.free / MIB


def _counted(jobs: int) -> str:
    return "a job" if jobs == 1 else f"{jobs} jobs"


def whole_number(environment: Mapping[str, str], name: str, default: int, least: int) -> int:
    """A setting from the environment; raises BadInput when it is no whole number of at least ``least``."""
    text = environment.get(name, str(default))
    if not text.isdigit() or int(text) < least:
        raise BadInput(Problem(name, f"{text!r} is not a whole number of at least {least}; unset it for {default}"))
    return int(text)
