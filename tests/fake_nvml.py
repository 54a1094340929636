"""A stand-in for the module ``pynvml``: answers, or fails, as the driver of a described machine does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pynvml
from pynvml import NVMLError

GIB = 1 << 30
FIRST, SECOND, THIRD = (f"GPU-{digit * 8}-0000-0000-0000-000000000000" for digit in "abc")
SLICES = tuple(f"MIG-{digit * 8}-0000-0000-0000-000000000000" for digit in "12")


@dataclass(eq=False)
class Card:
    """One GPU, or a slice of one. ``fails``: the error that a question (its NVML name after Get) is answered with."""

    uuid: str
    name: str = "NVIDIA A100-SXM4-40GB"
    capability: tuple[int, int] = (8, 0)
    free: int = 39 * GIB
    total: int = 40 * GIB
    used: int = 0
    busy: int = 0
    processes: int = 0
    slices: Sequence[Card | None] | None = None
    fails: dict[str, int] | None = None


class FakeNvml:
    """What `kdengine.machine.nvml.Nvml` takes in place of pynvml."""

    def __init__(self, *cards: Card, init: int | None = None, driver: str = "580.95.05", cuda: int = 13000) -> None:
        self.cards, self.init, self.driver, self.cuda = list(cards), init, driver, cuda
        self.open = 0

    def nvmlInit(self) -> None:
        if self.init is not None:
            raise NVMLError(self.init)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open = max(0, self.open - 1)

    def nvmlSystemGetDriverVersion(self) -> str:
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:
        if not self.open:
            raise NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        return self._answer(self.cards[index], "HandleByIndex", self.cards[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Card:
        everything = [*self.cards, *(each for card in self.cards for each in card.slices or () if each)]
        found = [card for card in everything if card.uuid == uuid]
        if not found:
            raise NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return found[0]

    def nvmlDeviceGetUUID(self, card: Card) -> str:
        return self._answer(card, "UUID", card.uuid)

    def nvmlDeviceGetName(self, card: Card) -> str:
        return self._answer(card, "Name", card.name)

    def nvmlDeviceGetCudaComputeCapability(self, card: Card) -> tuple[int, int]:
        return self._answer(card, "CudaComputeCapability", card.capability)

    def nvmlDeviceGetMemoryInfo(self, card: Card) -> Any:
        memory = SimpleNamespace(free=card.free, total=card.total, used=card.total - card.free)
        return self._answer(card, "MemoryInfo", memory)

    def nvmlDeviceGetUtilizationRates(self, card: Card) -> Any:
        return self._answer(card, "UtilizationRates", SimpleNamespace(gpu=card.busy, memory=0))

    def nvmlDeviceGetPowerUsage(self, card: Card) -> int:
        return self._answer(card, "PowerUsage", 250_000)

    def nvmlDeviceGetComputeRunningProcesses(self, card: Card) -> list[Any]:
        return self._answer(card, "ComputeRunningProcesses", [SimpleNamespace(pid=n) for n in range(card.processes)])

    def nvmlDeviceGetMigMode(self, card: Card) -> list[int]:
        if card.slices is None:
            raise NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [pynvml.NVML_DEVICE_MIG_ENABLE, pynvml.NVML_DEVICE_MIG_ENABLE]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: Card) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, number: int) -> Card:
        place = card.slices[number] if number < len(card.slices or ()) else None
        if place is None:
            raise NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return place

    def _answer(self, card: Card, question: str, answer: Any) -> Any:
        if question in (card.fails or {}):
            raise NVMLError(card.fails[question])
        return answer


def divided(uuid: str = FIRST) -> Card:
    """A GPU that MIG has made two slices of, at places 0 and 2; of the whole nobody is told the free memory."""
    name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    slices = [Card(SLICES[0], name, free=4 * GIB, total=5 * GIB), None, Card(SLICES[1], name, free=5 * GIB)]
    return Card(uuid, slices=slices, fails={"MemoryInfo": pynvml.NVML_ERROR_NO_PERMISSION})


def shared_memory() -> Card:
    """A GPU without memory of its own, as in a Jetson or a GB10."""
    unknown = {"MemoryInfo": pynvml.NVML_ERROR_NOT_SUPPORTED}
    return Card(FIRST, "NVIDIA GB10", capability=(12, 1), fails=unknown)
