"""What ``kd doctor`` says of GPUs: what the driver knows of, what of it torch can use, how the queue shares it out.

Which cards and drivers a wheel of torch serves: a kernel built for 8.0 runs on 8.x, one in PTX (``compute_``) on all
that is newer; a wheel for CUDA 13 wants driver 580 or newer, one for CUDA 12 driver 525 (NVIDIA's table of minor
version compatibility).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from kdengine.commands.findings import OK, PROBLEM, WARNING, Finding
from kdengine.machine import nvml
from kdengine.machine.nvml import Gpu, Inventory
from kdengine.machine.visible import VARIABLE, hidden, nothing_to_see, visible
from kdengine.units import memory
from kdengine.workspace import Workspace

MIN_DRIVER = {13: 580, 12: 525, 11: 450}
OWN_BFLOAT16 = (8, 0)


def gpus(workspace: Workspace) -> Iterator[Finding]:
    """A line for each GPU or slice, and what keeps torch from using them."""
    inventory = nvml.look()
    if inventory.absent:
        text = "no NVIDIA driver" if inventory.trouble else "the NVIDIA driver knows of no GPU"
        yield Finding(OK, "GPU", f"{text}: runs train on the CPU")
        return
    if inventory.trouble:
        yield Finding(WARNING, "GPU", f"{inventory.trouble}: runs train on the CPU, and say so", _what_to_do(inventory))
        return
    shown = visible(os.environ.get(VARIABLE), inventory.gpus)
    arches = _arches()
    for gpu in inventory.gpus:
        if not gpu.usable:
            yield Finding(WARNING, gpu.slot, f"{gpu.name}: {gpu.trouble}", "runs are given other devices")
        for device in gpu.usable:
            yield _device(device, device in shown, arches)
    yield from _torch_sees(inventory, shown)


def queue(workspace: Workspace) -> Iterator[Finding]:
    """How many runs at once the queue starts, and where that is set."""
    from kdengine.jobs.placement import Placement
    from kdengine.jobs.settings import jobs_per_gpu

    placement = Placement(per_gpu=lambda: jobs_per_gpu(workspace))
    devices = len(visible(os.environ.get(VARIABLE), nvml.look().gpus))
    if not devices:
        yield Finding(OK, "queue", f"{placement.cpu_slots} at once on the CPU (KD_CPU_SLOTS)")
        return
    where = "set on the Runs page" if jobs_per_gpu(workspace) else "KD_JOBS_PER_GPU"
    text = (
        f"{placement.jobs_per_gpu} at once on each of {devices} ({where}), where {placement.min_free_mb} MiB are free "
        f"(KD_GPU_MIN_FREE_MB); {placement.cpu_slots} at once that ask for the CPU (KD_CPU_SLOTS)"
    )
    yield Finding(OK, "queue", text)


def _what_to_do(inventory: Inventory) -> str:
    if "permissions" in inventory.trouble:
        return "join the group that may use /dev/nvidia* (often video or render), or ask who looks after the machine"
    return "see what nvidia-smi says; in a container, start it with --gpus all"


def _device(device: Gpu, shown: bool, arches: Sequence[str]) -> Finding:
    facts = [device.name, _memory(device)]
    if device.number is not None:
        facts.append("a slice made by MIG, to the queue a GPU of its own")
    if device.capability is not None:
        facts.append(f"compute capability {_dotted(device.capability)}, {_bfloat16(device.capability)}")
    if not shown:
        facts.append(f"hidden by {VARIABLE}={os.environ.get(VARIABLE)}")
    text = ", ".join(facts)
    if shown and device.capability is not None and arches and not served(device.capability, arches):
        built = ", ".join(arches)
        advice = "install a torch wheel built for this card; cards older than 7.5 (V100, P100) need one for CUDA 12.6"
        return Finding(PROBLEM, device.slot, f"{text}; this torch is built for {built}: not for this card", advice)
    return Finding(OK, device.slot, text)


def _memory(device: Gpu) -> str:
    if device.unified:
        import psutil

        return f"shares the machine's memory, of which {memory(psutil.virtual_memory().available)} is available"
    if device.free is None or device.total is None:
        return "this user may not read its memory"
    return f"{memory(device.free)} of {memory(device.total)} free"


def _bfloat16(capability: tuple[int, int]) -> str:
    if capability >= OWN_BFLOAT16:
        return "fast bfloat16"
    return "bfloat16 by emulation alone, slower than float32: precision auto takes float16"


def served(capability: tuple[int, int], arches: Sequence[str]) -> bool:
    """Whether a torch built for ``arches`` (sm_80, compute_120, ...) has kernels that a card runs."""
    for arch in arches:
        found = re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", arch)
        if not found:
            continue
        major, minor = int(found.group(2)), int(found.group(3))
        newer = found.group(1) == "compute" and capability >= (major, minor)
        if newer or (capability[0] == major and capability[1] >= minor):
            return True
    return False


def _torch_sees(inventory: Inventory, shown: Sequence[Gpu]) -> Iterator[Finding]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    built = torch.version.cuda
    driver = f"driver {inventory.driver}"
    if not shown:
        value = os.environ.get(VARIABLE)
        if hidden(value):
            yield Finding(OK, "CUDA", f"{VARIABLE}={value} hides all GPUs: runs train on the CPU", f"unset {VARIABLE}")
        else:
            why = nothing_to_see(inventory, os.environ)
            yield Finding(WARNING, "CUDA", f"{why}: runs train on the CPU, and say so", f"correct or unset {VARIABLE}")
    elif count:
        yield Finding(OK, "CUDA", f"{driver}, torch for CUDA {built} sees {count}")
    elif built is None:
        advice = "install a torch wheel for CUDA (the default one on Linux)"
        yield Finding(WARNING, "CUDA", f"{driver} shows a GPU, but this torch was built without CUDA", advice)
    else:
        wanted = MIN_DRIVER.get(int(built.split(".")[0]))
        text = f"{driver} shows a GPU, but torch for CUDA {built} cannot use it"
        newer = f" to {wanted} or newer, which that torch wants" if wanted else ""
        yield Finding(WARNING, "CUDA", text, f"update the driver{newer}, or install a torch for an older CUDA")


def _arches() -> list[str]:
    import torch

    return torch.cuda.get_arch_list()


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))
