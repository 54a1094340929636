"""A CUDA graph without CUDA: what was done once is done again on the same memory, never the Python code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from kdengine.testing.fake_gpu.tensors import mapped, tensors_in
from kdengine.testing.fake_gpu.watch import watch

CHANGES_SHAPE = frozenset({"squeeze_", "unsqueeze_", "transpose_", "t_", "detach_", "as_strided_"})
NORMS = frozenset({"native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit"})
"""They write running statistics, which their schema does not mention."""


class Tape:
    """What a graph keeps: kernels, addresses and the numbers that came from the host, as they were once."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, Any, Any, list[Tensor], list[bool]]] = []
        self._made: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def before(self, func: Any, args: Any) -> None:
        """Keeps what an operation is about to overwrite: capturing does nothing yet."""
        if func._schema.name.removeprefix("aten::") in NORMS:
            self._keep(args[3:5])
        if func._schema.is_mutable:
            for argument, value in zip(func._schema.arguments, args, strict=False):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._keep(value)

    def _keep(self, tree: Any) -> None:
        for tensor in tensors_in(tree):
            place = tensor.untyped_storage().data_ptr()
            if place not in self._made and place not in self._before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self._before[place] = whole, whole.clone()

    def after(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Notes an operation with the memory that it read and wrote."""
        read = {tensor.untyped_storage().data_ptr() for tensor in tensors_in((args, kwargs))}
        written = tensors_in(result)
        fresh = [tensor.untyped_storage().data_ptr() not in read for tensor in written]
        self._made |= {one.untyped_storage().data_ptr() for one, new in zip(written, fresh, strict=True) if new}
        if func._schema.name.removeprefix("aten::") in CHANGES_SHAPE:
            return
        if func._schema.is_mutable or any(fresh):
            # Aliases: a later change of shape in place must not change what was noted.
            kept = mapped((args, kwargs), lambda value: value.detach() if isinstance(value, Tensor) else value)
            self._done.append((func, *kept, [one.detach() for one in written], fresh))

    def undo(self) -> None:
        """Puts the memory back to what it was before the capture."""
        for whole, was in self._before.values():
            whole.copy_(was)

    def replay(self) -> None:
        """Does all of it again."""
        for func, args, kwargs, written, fresh in self._done:
            again = tensors_in(func(*args, **kwargs))
            for old, new, own in zip(written, again, fresh, strict=True):
                if own:
                    old.copy_(new)


class FakeGraph:
    """In the place of ``torch.cuda.CUDAGraph``."""

    def __init__(self) -> None:
        self.tape: Tape | None = None

    def replay(self) -> None:
        """Does what was recorded."""
        assert self.tape is not None
        watch().replays += 1
        with _plainly():
            self.tape.replay()


@contextmanager
def capture(graph: FakeGraph, *, capture_error_mode: str = "global", **_: Any) -> Iterator[None]:
    """In the place of ``torch.cuda.graph``: notes what is done, and undoes it."""
    state = watch()
    assert capture_error_mode == "thread_local", (
        "a thread that pins memory would end a capture that watches all threads"
    )
    random = torch.get_rng_state()
    tape = state.tape = Tape()
    try:
        yield
    finally:
        state.tape = None
        with _plainly():
            tape.undo()
        torch.set_rng_state(random)
    graph.tape = tape
    state.captures += 1


@contextmanager
def _plainly() -> Iterator[None]:
    with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
        yield
