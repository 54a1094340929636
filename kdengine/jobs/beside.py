"""Where to compute for somebody who looks, beside the training: on a GPU that no run holds, else on the CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kdengine.jobs.job import ACTIVE, Job
from kdengine.jobs.placement import is_on
from kdengine.jobs.store import JobStore
from kdengine.machine.nvml import Gpu, Inventory, look
from kdengine.machine.visible import VARIABLE, visible
from kdengine.workspace import Workspace


class Beside(NamedTuple):
    """A device as a spec names it; and why it is not the one that was wanted, in words, "" where it is."""

    device: str
    why: str = ""


def beside_training(
    workspace: Workspace,
    wanted: str = "auto",
    query: Callable[[], Inventory] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Beside:
    """The wanted device, unless a run trains on it: then a GPU that is free, or the CPU. Makes no CUDA context.

    Args:
        wanted: auto, cpu, cuda or cuda:n; auto and cuda mean any GPU.
    """
    if wanted == "cpu":
        return Beside(wanted)
    environment = os.environ if environment is None else environment
    gpus = visible(environment.get(VARIABLE), (query or look)().gpus)
    holders = _holders(workspace, gpus)
    if not holders:
        return Beside(wanted)
    if any(gpu.number is not None for gpu in gpus):
        free = [0] if gpus[0].uuid not in holders else []  # of slices CUDA shows a process the first alone
    else:
        free = [number for number, gpu in enumerate(gpus) if gpu.uuid not in holders]
    named = int(wanted.removeprefix("cuda:")) if wanted.startswith("cuda:") else None
    if named in free:
        return Beside(wanted)
    if named is None and free:
        return Beside(f"cuda:{free[0]}")
    run_id = next(iter(holders.values()))
    return Beside("cpu", f"computed on the CPU, since {run_id} trains on the GPU")


def _holders(workspace: Workspace, gpus: Sequence[Gpu]) -> dict[str, str]:
    """UUID of a GPU -> id of a run that trains on it."""
    found: dict[str, str] = {}
    for job in JobStore(workspace).jobs(ACTIVE):
        held = (
            [] if job.is_controller else [gpu for gpu in gpus if is_on(job, gpu)] or _of_a_shell(workspace, job, gpus)
        )
        found |= {gpu.uuid: job.id for gpu in held}
    return found


def _of_a_shell(workspace: Workspace, job: Job, gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPU of a run that nobody placed, by what it wrote of itself."""
    device = str(workspace.run(job.id).environment().get("device") or "") if job.slot is None else ""
    number = device.partition(":")[2] or "0"
    if not device.startswith("cuda") or not number.isdigit():
        return []
    return list(gpus[int(number) : int(number) + 1])
