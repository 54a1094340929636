"""What the stand-in watches: where the program is, and what a GPU would not have liked there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

ENGINE = os.sep + "kdengine" + os.sep
FOREIGN = tuple(str(Path(file).parent) + os.sep for file in (__file__, torch.__file__))
"""Code that is no place to name: the stand-in's own, and PyTorch's."""


class WouldWait(RuntimeError):
    """Within a training step the host waits for the device, or copies pageable memory to it."""


class NotWhileCapturing(RuntimeError):
    """Something that CUDA refuses while a graph is recorded."""


@dataclass
class Watch:
    """State of one stand-in.

    Attributes:
        allowed: reasons by (file of the engine, function): what may make the host wait within a step.
        tf32: whether the card rounds the factors of float32 products where PyTorch lets it.
        index: number of the current device.
        in_step: whether a training step is under way.
        tape: what records, while a graph is captured.
        backward: depth of backward passes.
        calls: the Python functions of torch that are running: (function, a tensor on the GPU is among its arguments,
            a device was named).
        to_host: whether Python has just named the CPU as the goal of a copy.
        used: which entries of ``allowed`` were needed.
        steps: training steps taken; ``captures`` graphs recorded; ``replays`` of them.
    """

    allowed: dict[tuple[str, str], str] = field(default_factory=dict)
    tf32: bool = False
    index: int = 0
    in_step: bool = False
    tape: Any = None
    backward: int = 0
    calls: list[tuple[Any, bool, bool]] = field(default_factory=list)
    to_host: bool = False
    used: set[tuple[str, str]] = field(default_factory=set)
    steps: int = 0
    captures: int = 0
    replays: int = 0

    def waits(self, what: str) -> None:
        """The host waits for the device here, or copies to it what is not pinned."""
        if self.tape is not None:
            raise NotWhileCapturing(f"operation not permitted when stream is capturing: {what}, at {place()}")
        if not self.in_step:
            return
        for file, function in engine_frames():
            if (file, function) in self.allowed:
                self.used.add((file, function))
                return
        raise WouldWait(f"{what} within a training step, at {place()}")

    @contextmanager
    def step(self) -> Iterator[None]:
        """A training step is under way."""
        self.in_step, self.steps = True, self.steps + 1
        try:
            yield
        finally:
            self.in_step = False

    @property
    def inside_one_hot(self) -> bool:
        """``one_hot`` looks at its input on a CPU alone: on a GPU it does not wait."""
        return any("one_hot" in str(call[0]) for call in self.calls)

    @property
    def device(self) -> torch.device:
        """The current one."""
        return torch.device("cuda", self.index)


def engine_frames() -> Iterator[tuple[str, str]]:
    """(file of the engine, function) of the engine's code that is running, innermost first."""
    for frame in _frames():
        if ENGINE in frame.f_code.co_filename:
            yield _file(frame), frame.f_code.co_name


def place() -> str:
    """File and line of the innermost code that is neither the stand-in's nor PyTorch's: of the engine, or a plug-in."""
    return next((f"{_file(frame)}:{frame.f_lineno}" for frame in _frames()), "an unknown place")


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(FOREIGN):
            yield frame
        frame = frame.f_back


def _file(frame: FrameType) -> str:
    """Of the engine's code the path within it, of other code the file's name."""
    path = frame.f_code.co_filename
    return path.rpartition(ENGINE)[2] if ENGINE in path else Path(path).name


WATCH = Watch()
"""Of the stand-in in use; there is one at a time."""


def watch() -> Watch:
    """The stand-in in use."""
    return WATCH


def begin(new: Watch) -> None:
    """Puts another stand-in in the place of the one before."""
    global WATCH
    WATCH = new
