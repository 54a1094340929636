"""Which GPUs a process sees: CUDA's rule for ``CUDA_VISIBLE_DEVICES``, read without CUDA.

The list ends at its first entry that names no device; an entry given twice leaves none at all; the first entry says
whether indices, GPU or MIG identifiers follow. This is how torch reads it too (``torch.cuda._parse_visible_devices``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from kdengine.machine.nvml import Gpu, Inventory

VARIABLE = "CUDA_VISIBLE_DEVICES"
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Indices as nvidia-smi counts them; CUDA's own default puts the fastest card first."""

# CUDA reads a number as C's strtol does: "1st" is 1, and "card1" is none.
_INDEX = re.compile(r"\s*([+-]?\d+)")
_HIDING = ("", "-1", "NoDevFiles")


def visible(value: str | None, gpus: Sequence[Gpu]) -> list[Gpu]:
    """The devices that a value of ``CUDA_VISIBLE_DEVICES`` shows, in its order.

    Args:
        value: None where the variable is not set, which shows all.
        gpus: all of the machine, by index (PCI bus).

    Returns:
        Whole GPUs and slices of divided ones. A divided GPU that is named stands for all its slices: CUDA would show
        a process the first alone, but here each job is given one of them.
    """
    if value is None:
        return [device for gpu in gpus for device in gpu.usable]
    named: list[Gpu] = []
    read = _reader(value)
    for word in value.split(","):
        found = read(word, gpus)
        if found is None:
            break
        if found in named:
            return []
        named.append(found)
    return [device for one in named for device in one.usable]


def hidden(value: str | None) -> bool:
    """Whether somebody has hidden all GPUs with one of the usual words."""
    return value is not None and value.strip() in _HIDING


def nothing_to_see(inventory: Inventory, environment: Mapping[str, str]) -> str:
    """Why a process sees no GPU though the machine seems to have one, in words.

    "" where there is none to be missed: no driver, or somebody has hidden them on purpose.
    """
    value = environment.get(VARIABLE)
    if inventory.absent or hidden(value) or visible(value, inventory.gpus):
        return ""
    if inventory.troubles:
        return "; ".join(inventory.troubles)
    there = ", ".join(f"{gpu.ordinal} ({gpu.uuid})" for gpu in inventory.gpus)
    return f"{VARIABLE}={value} names none of the GPUs of this machine: {there}"


def _reader(value: str) -> Callable[[str, Sequence[Gpu]], Gpu | None]:
    prefix = value[:4]
    return partial(_by_uuid, prefix=prefix) if prefix in ("GPU-", "MIG-") else _by_index


def _by_index(word: str, gpus: Sequence[Gpu]) -> Gpu | None:
    found = _INDEX.match(word)
    index = int(found.group(1)) if found else -1
    return gpus[index] if 0 <= index < len(gpus) else None


def _by_uuid(word: str, gpus: Sequence[Gpu], prefix: str) -> Gpu | None:
    """The one device whose UUID begins with the word."""
    all_devices = [*gpus, *(device for gpu in gpus for device in gpu.slices)]
    found = [device for device in all_devices if word.startswith(prefix) and device.uuid.startswith(word)]
    return found[0] if len(found) == 1 else None
