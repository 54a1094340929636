"""A GPU that is not there: real numbers on the CPU under tensors that say ``cuda:0``, and the rules of a real one.

It raises where CUDA would: on tensors of two devices, on ``.numpy()``, on a generator of the wrong device, on what
cannot be done while a graph is recorded or has no deterministic kernel. Within a training step it also raises where the
host would wait for the device, or copy to it, unless the place is in an allow-list with its reason.

What it cannot say: speed, memory, and the rounding of a real card's kernels.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.utils import clip_grad
from torch.optim import optimizer, swa_utils
from torch.utils import _pytree as pytree

from kdengine.testing.fake_gpu.graphs import FakeGraph, capture
from kdengine.testing.fake_gpu.tensors import Calls, OnGpu, Operations, is_cuda
from kdengine.testing.fake_gpu.watch import NotWhileCapturing, Watch, WouldWait, begin, watch

__all__ = ["NotWhileCapturing", "OnGpu", "Watch", "WouldWait", "fake_gpu"]

MEMORY = 16 << 30


@contextmanager
def fake_gpu(
    *,
    cards: int = 1,
    bf16: bool | tuple[bool, ...] = True,
    tf32: bool = False,
    memory: int = MEMORY,
    allowed: dict[tuple[str, str], str] | None = None,
) -> Iterator[Watch]:
    """PyTorch says that there are GPUs, for a while.

    Args:
        cards: how many.
        bf16: whether they compute in bfloat16, all or each; where not, it is emulated, as on cards before Ampere.
        tf32: whether they round the factors of float32 products where PyTorch allows it, as cards from Ampere on.
        memory: bytes of each, half of which are free.
        allowed: reasons by (file of the engine, function) for what may make the host wait within a step.
    """
    state = Watch(allowed=allowed or {}, tf32=tf32)
    begin(state)
    switches = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled()
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with ExitStack() as stack:
            for owner, name, value in _patches(state, cards, bf16, memory):
                stack.enter_context(mock.patch.object(owner, name, value))
            with Calls(), Operations():  # type: ignore[no-untyped-call]
                yield state
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark = (
            switches
        )
        begin(Watch())


def _patches(state: Watch, cards: int, bf16: bool | tuple[bool, ...], memory: int) -> Iterator[tuple[Any, str, Any]]:
    from kdengine.training.loop import Trainer

    for name, value in _cuda(state, cards, bf16, memory).items():
        yield torch.cuda, name, value
    yield torch, "save", _saving
    yield torch, "load", _loading
    yield Tensor, "pin_memory", lambda self, *_: self
    yield torch.accelerator, "current_stream", _Stream
    # The numbers are the CPU's, so its autocast is the one that sees them.
    yield torch, "autocast", _Autocast
    yield torch, "is_autocast_enabled", lambda *_: _AUTOCAST_ENABLED("cpu")
    for module in (clip_grad, optimizer, swa_utils):
        yield module, "_group_tensors_by_device_and_dtype", _grouping(module._group_tensors_by_device_and_dtype)
    yield Trainer, "train_step", _in_a_step(Trainer.train_step)


def _cuda(state: Watch, cards: int, bf16: bool | tuple[bool, ...], memory: int) -> dict[str, Any]:
    fast = bf16 if isinstance(bf16, tuple) else (bf16,) * cards

    def set_device(device: Any) -> None:
        state.index = _index(device, state)

    def synchronize(*_: Any) -> None:
        state.waits("synchronize()")

    return {
        "is_available": lambda: cards > 0,
        "device_count": lambda: cards,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "current_device": lambda: state.index,
        "set_device": set_device,
        "synchronize": synchronize,
        "is_bf16_supported": lambda including_emulation=True: including_emulation or fast[state.index],
        "get_device_capability": lambda device=None: (8, 0) if fast[_index(device, state)] else (7, 5),
        "device": functools.partial(_on_device, state),
        "memory_allocated": lambda *_: 0,
        "max_memory_allocated": lambda *_: memory // 8,
        "reset_peak_memory_stats": lambda *_: None,
        "mem_get_info": lambda *_: (memory // 2, memory),
        "empty_cache": lambda: None,
        "get_device_name": lambda *_: "stand-in",
        "manual_seed": lambda seed: None,  # its random numbers are the CPU's
        "manual_seed_all": lambda seed: None,
        "get_rng_state_all": lambda: [torch.get_rng_state() for _ in range(cards)],
        "Stream": _Stream,
        "stream": _on_stream,
        "current_stream": _Stream,
        "set_stream": lambda stream: None,
        "default_generators": [_Generator() for _ in range(cards)],
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: _check_state(state),
        "is_current_stream_capturing": lambda: state.tape is not None,
        "CUDAGraph": FakeGraph,
        "graph": capture,
    }


def _index(device: Any, state: Watch) -> int:
    if isinstance(device, int):
        return device
    index = None if device is None else torch.device(device).index
    return state.index if index is None else index


@contextmanager
def _on_device(state: Watch, device: Any) -> Iterator[None]:
    before, state.index = state.index, _index(device, state)
    try:
        yield
    finally:
        state.index = before


def _check_state(state: Tensor) -> None:
    if isinstance(state, OnGpu):
        raise TypeError("RNG state must be a torch.ByteTensor")


class _Generator:
    """The GPU's random numbers are the CPU's here, whose state a capture leaves as it was."""

    def clone_state(self) -> Tensor:
        return torch.get_rng_state()

    def graphsafe_set_state(self, state: Tensor) -> None:
        torch.set_rng_state(state)


class _Stream:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, _: Any) -> None:
        """Nothing runs beside anything here."""

    def is_capturing(self) -> bool:
        return watch().tape is not None


@contextmanager
def _on_stream(_: _Stream) -> Iterator[None]:
    yield


_AUTOCAST_ENABLED = torch.is_autocast_enabled
_SAVE, _LOAD = torch.save, torch.load


class _Autocast(torch.autocast):
    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu", *args, **kwargs)


def _saving(tree: Any, file: Any, **options: Any) -> None:
    plain = pytree.tree_map(lambda value: value.elem.detach() if isinstance(value, OnGpu) else value, tree)
    _SAVE(plain, file, **options)


def _loading(file: Any, map_location: Any = None, **options: Any) -> Any:
    tree = _LOAD(file, map_location="cpu", **options)
    if not is_cuda(map_location):
        return tree
    return pytree.tree_map(lambda value: OnGpu(value) if isinstance(value, Tensor) else value, tree)


def _grouping(real: Any) -> Any:
    """PyTorch's C++ takes a tensor's device from what it knows itself."""

    def group(lists: Any, *more: Any) -> Any:
        found = real(lists, *more) if any(lists) else {}
        return {
            (watch().device, key[1]) if isinstance(value[0][0][0], OnGpu) else key: value
            for key, value in found.items()
        }

    return group


def _in_a_step(train_step: Any) -> Any:
    @functools.wraps(train_step)
    def within(self: Any, batch: Any) -> float:
        with watch().step():
            rate: float = train_step(self, batch)
        return rate

    return within
