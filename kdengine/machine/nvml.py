"""The NVIDIA GPUs of this machine by NVML: what there is, how much memory is free, what keeps one from being used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pynvml
from pynvml import NVMLError

PATIENCE_S = 10.0

NO_DRIVER = "there is no NVIDIA driver here"
_WORDS: dict[int, str] = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: NO_DRIVER,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded",
    pynvml.NVML_ERROR_NO_PERMISSION: "insufficient permissions for the NVIDIA driver",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver and its library differ in version, as after an "
    "update; restart the machine",
    pynvml.NVML_ERROR_GPU_IS_LOST: "it has fallen off the bus; restart the machine",
    pynvml.NVML_ERROR_RESET_REQUIRED: "it must be reset first (nvidia-smi --gpu-reset, or a restart)",
    pynvml.NVML_ERROR_NOT_SUPPORTED: "not supported ([N/A] in nvidia-smi)",
}


class Gpu(NamedTuple):
    """What CUDA takes for one device: a whole GPU, or a slice of one that MIG has divided.

    Attributes:
        ordinal: of the GPU as nvidia-smi counts, by PCI bus.
        uuid: ``GPU-...`` or ``MIG-...``; "" where the driver would not say.
        name: of the product.
        capability: CUDA compute capability (major, minor); None where it is not known.
        free, total: bytes of memory; None where the driver gives none.
        unified: whether it has no memory of its own but shares the machine's (Jetson, GB10), so that none is given.
        number: of the slice on its GPU; None for a whole GPU.
        slices: what MIG has made of it; a GPU with MIG on is used by its slices alone.
        trouble: why it cannot be used, in words; "" when it can.
    """

    ordinal: int
    uuid: str
    name: str = "GPU"
    capability: tuple[int, int] | None = None
    free: int | None = None
    total: int | None = None
    unified: bool = False
    number: int | None = None
    slices: tuple[Gpu, ...] = ()
    trouble: str = ""

    @property
    def slot(self) -> str:
        """What its place in the queue is called: "gpu:0", or "gpu:0/1" for a slice."""
        return f"gpu:{self.ordinal}" + ("" if self.number is None else f"/{self.number}")

    @property
    def usable(self) -> tuple[Gpu, ...]:
        """The devices that it is to CUDA: itself, or its slices; none when it has a trouble."""
        return () if self.trouble else self.slices or (self,)


class Inventory(NamedTuple):
    """All GPUs by index, versions of the driver and of the CUDA it knows; ``trouble``: why they cannot be asked."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: tuple[int, int] | None = None
    trouble: str = ""

    @property
    def absent(self) -> bool:
        """Whether nothing here speaks of a GPU at all: no driver, or one that knows of none."""
        return self.trouble == NO_DRIVER or not (self.trouble or self.gpus)

    @property
    def troubles(self) -> list[str]:
        """Everything that keeps GPUs from being used, in words."""
        each = [f"GPU {gpu.ordinal}: {gpu.trouble}" for gpu in self.gpus if gpu.trouble]
        return [self.trouble, *each] if self.trouble else each


def words(error: NVMLError) -> str:
    """What an error of NVML means."""
    return _WORDS.get(error.value, str(error))


class Nvml:
    """A connection to the driver that lives as long as its process; made at the first question, anew after a failure.

    Args:
        library: the module ``pynvml``; tests give one that behaves as on other machines.
    """

    def __init__(self, library: Any = pynvml) -> None:
        self._nvml = library
        self._open = False
        # The library is started and ended by several threads; a lost count would end it under another.
        self._lock = threading.Lock()

    def inventory(self) -> Inventory:
        """What there is now. Never raises: what cannot be found out is said in words."""
        with self._lock:
            try:
                self._connect()
                count = self._nvml.nvmlDeviceGetCount()
                driver, cuda = self._nvml.nvmlSystemGetDriverVersion(), self._nvml.nvmlSystemGetCudaDriverVersion()
            except NVMLError as error:
                self._disconnect()
                return Inventory(trouble=words(error))
            gpus = tuple(self._gpu(index) for index in range(count))
            return Inventory(gpus, _text(driver), (cuda // 1000, cuda % 1000 // 10))

    def handle(self, uuid: str) -> Any | None:
        """What NVML's functions take for the device of that UUID; None where there is none."""
        with self._lock:
            try:
                self._connect()
                return self._nvml.nvmlDeviceGetHandleByUUID(uuid)
            except NVMLError:
                return None

    def ask(self, question: str, *arguments: Any) -> Any | None:
        """The result of ``nvmlDeviceGet<question>``; None where this device, driver or user is given none."""
        try:
            return getattr(self._nvml, f"nvmlDeviceGet{question}")(*arguments)
        except NVMLError:
            return None

    def _connect(self) -> None:
        if not self._open:
            self._nvml.nvmlInit()
            self._open = True

    def _disconnect(self) -> None:
        if self._open:
            self._open = False
            try:
                self._nvml.nvmlShutdown()
            except NVMLError:
                return

    def _gpu(self, index: int) -> Gpu:
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = _text(self._nvml.nvmlDeviceGetUUID(handle))
        except NVMLError as error:
            return Gpu(index, "", trouble=words(error))
        gpu = self._described(Gpu(index, uuid, capability=self.ask("CudaComputeCapability", handle)), handle)
        mig = self.ask("MigMode", handle)
        if not mig or mig[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return gpu
        slices = tuple(self._slices(gpu, handle))
        return gpu._replace(slices=slices, trouble="" if slices else "MIG is on, but nobody has made an instance")

    def _slices(self, gpu: Gpu, handle: Any) -> Iterator[Gpu]:
        for number in range(self.ask("MaxMigDeviceCount", handle) or 0):
            place = self.ask("MigDeviceHandleByIndex", handle, number)
            uuid = self.ask("UUID", place) if place is not None else None
            if uuid is not None:
                yield self._described(Gpu(gpu.ordinal, _text(uuid), capability=gpu.capability, number=number), place)

    def _described(self, gpu: Gpu, handle: Any) -> Gpu:
        gpu = gpu._replace(name=_text(self.ask("Name", handle) or "GPU"))
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        except NVMLError as error:
            return gpu._replace(unified=error.value == pynvml.NVML_ERROR_NOT_SUPPORTED)
        return gpu._replace(free=int(memory.free), total=int(memory.total))


def within(seconds: float, look: Callable[[], Inventory]) -> Callable[[], Inventory]:
    """A look that always returns in time: a driver that hangs must not hang who asks.

    While it hangs it is not asked again, and its result counts whenever it comes.
    """
    asking: list[threading.Thread] = []
    found: list[Inventory] = []

    def ask() -> None:
        found[:] = [look()]

    def patiently() -> Inventory:
        if not asking or not asking[0].is_alive():
            found.clear()
            asking[:] = [threading.Thread(target=ask, name="nvml", daemon=True)]
            asking[0].start()
            asking[0].join(seconds)
        return found[0] if found else Inventory(trouble="the NVIDIA driver does not answer; restart the machine")

    return patiently


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


NVML = Nvml()
look: Callable[[], Inventory] = within(PATIENCE_S, NVML.inventory)
"""What GPUs this machine has, within ten seconds."""
