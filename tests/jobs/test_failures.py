"""Each crafted failure has its own class and one suggestion."""

from __future__ import annotations

import errno
import signal

import pytest

from kdengine.errors import BadInput, DataError, KdError, NonFiniteLoss
from kdengine.jobs import classify_exception, classify_exit
from kdengine.jobs.failures import ADVICE
from kdengine.workspace.states import State


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


def wrapped() -> RuntimeError:
    error = RuntimeError("worker 0 failed")
    error.__cause__ = ModuleNotFoundError("No module named 'timm'")
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("tried to allocate 2 GiB"), "oom_gpu"),
        (RuntimeError("CUDA error: out of memory"), "oom_gpu"),
        (MemoryError(), "oom_host"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "oom_host"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "oom_host"),
        (NonFiniteLoss("the term kd became NaN at step 12"), "nan_loss"),
        (DataError("cat/7.png is no image"), "data"),
        (BadInput("batch larger than the data"), "config"),
        (wrapped(), "import"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (KeyboardInterrupt(), "stopped"),
        (KdError("the teacher has other classes"), "unknown"),
        (KdError("a process that reads images for the training failed: it exited unexpectedly"), "killed"),
        (ZeroDivisionError("division by zero"), "crashed"),
    ],
)
def test_exceptions(error, reason):
    failure = classify_exception(error)
    assert failure.reason == reason and failure.message and failure.advice


def test_an_error_with_its_own_words_keeps_them():
    error = NonFiniteLoss("the term kd became NaN at step 12")
    assert classify_exception(error).message == "the term kd became NaN at step 12"
    assert classify_exception(error).advice == NonFiniteLoss.advice


@pytest.mark.parametrize(
    ("exit_code", "number", "log", "reason", "state"),
    [
        (137, 9, ["epoch 3"], "killed", State.FAILED),
        (137, 9, ["ValueError: of an earlier part"], "killed", State.FAILED),
        (139, 11, [], "crashed", State.FAILED),
        (143, None, [], "stopped", State.STOPPED),
        (130, 2, [], "stopped", State.STOPPED),
        (None, None, ["epoch 3"], "lost", State.LOST),
        (1, None, ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate"], "oom_gpu", State.FAILED),
        (1, None, ["OSError: [Errno 28] No space left on device: 'x'", "bye"], "disk_full", State.FAILED),
        (1, None, ["ModuleNotFoundError: No module named 'timm'"], "import", State.FAILED),
        (1, None, ["  File x, line 1", "ZeroDivisionError: division by zero"], "crashed", State.FAILED),
        (2, None, ["unknown method 'dkx', did you mean 'dkd'?"], "config", State.FAILED),
        (0, None, [], "unknown", State.FAILED),
    ],
)
def test_exits(exit_code, number, log, reason, state):
    failure = classify_exit(exit_code, number, log)
    assert (failure.reason, failure.state) == (reason, state)
    assert failure.message and failure.advice == ADVICE[reason]


def test_a_kill_by_the_kernel_for_lack_of_memory_is_named():
    assert classify_exit(137, signal.SIGKILL, [], oom_killed=True).reason == "oom_host"
