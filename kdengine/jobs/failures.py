"""Why a run ended: one class, one sentence, one suggested fix, from an exception or from what a dead process left.

Works on names and texts, so that it needs no torch: the page and the supervisor use it too.
"""

from __future__ import annotations

import errno
import re
import signal as signals
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kdengine.errors import KdError
from kdengine.jobs import gpu_memory
from kdengine.workspace.states import State


class Failure(NamedTuple):
    """The class of a failure (a key of ``ADVICE``), one sentence, and what to do about it."""

    reason: str
    message: str
    advice: str

    @property
    def state(self) -> State:
        """The state a run ends in for that reason."""
        return {"stopped": State.STOPPED, "lost": State.LOST, "pruned": State.PRUNED}.get(self.reason, State.FAILED)


ADVICE: dict[str, str] = {
    "oom_gpu": "Launch it anew with a setting that needs less, or smaller images; or resume it when the GPU is free. "
    "KD_RESIDENT_MB=0 keeps the data off the GPU and changes no result.",
    "oom_host": "Launch it anew with fewer workers or a smaller batch; or resume it on a machine with more memory.",
    "nan_loss": "Resume with a lower learning rate or a longer warm-up, or switch bf16 off.",
    "data": "Repair or remove the file named above, then resume.",
    "data_changed": "Put the data back as they were and resume; or resume with the data as they are now.",
    "config": "Clone the run, correct the setting named above, and launch again.",
    "import": "Install the missing package into the environment of the supervisor, then resume.",
    "disk_full": "Free some space (delete old runs on the Runs page), then resume.",
    "stopped": "Resume it whenever you like; it continues from its last checkpoint.",
    "lost": "Resume it; it continues from its last checkpoint.",
    "pruned": "Nothing is to be done: other trials of its study were ahead at this epoch.",
    "killed": "Resume it. If nobody killed it, memory ran out: use fewer loader workers or a smaller batch.",
    "crashed": "Read the last lines of the log; resume, and if it comes again, report it with that log.",
    "dependency": "Launch it anew: its teacher is then trained first.",
    "unknown": "Read the last lines of the log, then resume.",
}


def left_behind(original: str) -> Failure:
    """Why a run has ended in a copy of the workspace that it was started in; ``original``: that one's path."""
    message = f"its workspace was copied from {original} while it ran; it may go on there, here it does not"
    return Failure("lost", message, ADVICE["lost"])


PRUNED = Failure("pruned", "ended early by its study", ADVICE["pruned"])

# Looked for in an exception's text and in the last lines of a log; the first that matches names the class.
_SIGNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (reason, re.compile(pattern, re.IGNORECASE))
    for reason, pattern in (
        ("oom_gpu", r"(CUDA|HIP) (out of memory|error: out of memory)|OutOfMemoryError|DEVICE_ALLOCATION_FAILED"),
        ("oom_gpu", r"CU(BLAS|DNN|SOLVER|SPARSE)_STATUS_ALLOC_FAILED"),
        ("oom_host", r"\bMemoryError\b|can(no|')t allocate memory|oom[-_ ]?kill|insufficient shared memory"),
        ("oom_host", r"worker.*killed by signal: (killed|bus)"),
        ("killed", r"process that reads images for the training failed"),
        ("disk_full", r"no space left on device|disk quota exceeded|\bDiskFull\b|database or disk is full"),
        ("nan_loss", r"\bNonFiniteLoss\b|loss (is|became) (nan|inf)|returned nan values|FloatingPointError"),
        ("import", r"\b(ModuleNotFoundError|ImportError)\b|cannot open shared object file"),
        ("data", r"\b(DataError|UnidentifiedImageError|BadZipFile|FileNotFoundError)\b|truncated|tarfile\.ReadError"),
        ("config", r"\b(BadInput|ValidationError)\b|^error: |the following arguments are required"),
    )
)

_CLASSES_OF_NAMES: dict[str, str] = {
    "OutOfMemoryError": "oom_gpu",
    "MemoryError": "oom_host",
    "FloatingPointError": "nan_loss",
    "ImportError": "import",
    "ValidationError": "config",
    "UnidentifiedImageError": "data",
    "BadZipFile": "data",
    "ReadError": "data",
    "FileNotFoundError": "data",
    "KeyboardInterrupt": "stopped",
}

_CLASSES_OF_ERRNO: dict[int, str] = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.ENOMEM: "oom_host",
}

_ERROR_LINE = re.compile(r"^[\w.]*(Error|Exception|Interrupt|BadInput|DiskFull|NonFiniteLoss)\b")
_ASKED_TO_STOP = (signals.SIGTERM, signals.SIGINT, signals.SIGHUP)


def classify_exception(error: BaseException) -> Failure:
    """Class, sentence and advice for an exception, looking through its causes.

    A ``KdError`` brings its own class and advice. What no rule knows is "crashed": a fault of the program.
    """
    for cause in causes(error):
        if isinstance(cause, KdError) and cause.failure_class != "unknown":
            return _failure(cause.failure_class, str(cause), cause.advice)
        reason = _class_of(cause)
        if reason:
            return _failure(reason, gpu_memory.sentence(str(cause)) if reason == "oom_gpu" else _one_line(cause))
    if isinstance(error, KdError):
        return _failure("unknown", str(error), error.advice)
    return _failure("crashed", _one_line(error))


def classify_exit(
    exit_code: int | None, signal: int | None, log_tail: Sequence[str], *, oom_killed: bool = False
) -> Failure:
    """Class, sentence and advice for a process that ended without saying why.

    Args:
        exit_code: as the shell counts it (128 + n for signal n); None when nobody could ask.
        signal: the number of the signal that ended it, None when none did or nobody could ask.
        log_tail: the last lines of its log.
        oom_killed: whether the kernel is known to have killed something for lack of memory meanwhile.
    """
    if signal is None and exit_code is not None and exit_code - 128 in _ASKED_TO_STOP:
        signal = exit_code - 128
    if signal in _ASKED_TO_STOP:
        return _failure("stopped", f"it was stopped from outside ({_signal_name(signal)})")
    if signal == signals.SIGKILL and oom_killed:
        return _failure("oom_host", "the machine ran out of memory and the system killed it (signal 9)")
    from_log = _from_log(log_tail)
    if from_log and (signal != signals.SIGKILL or from_log.reason.startswith("oom")):
        return from_log
    if signal == signals.SIGKILL:
        return _failure("killed", "it was killed from outside, or the machine ran out of memory (signal 9)")
    if signal is not None:
        return _failure("crashed", f"the program crashed ({_signal_name(signal)})")
    if exit_code is None:
        return _failure("lost", "its process ended while nobody watched, and left no word why")
    if exit_code == 2:
        return _failure("config", _last_line(log_tail) or "the settings were refused (exit code 2)")
    return _failure("unknown", f"it ended with exit code {exit_code} and no outcome")


def _failure(reason: str, message: str, advice: str = "") -> Failure:
    return Failure(reason, message, advice or ADVICE.get(reason, ADVICE["unknown"]))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, what that was raised from, and so on."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _class_of(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _CLASSES_OF_ERRNO:
        return _CLASSES_OF_ERRNO[error.errno]
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in _CLASSES_OF_NAMES:
            return _CLASSES_OF_NAMES[ancestor.__name__]
    return _sign(str(error))


def _sign(text: str) -> str | None:
    return next((reason for reason, pattern in _SIGNS if pattern.search(text)), None)


def _from_log(log_tail: Sequence[str]) -> Failure | None:
    """Reads the log from its end: the last error is the one that ended the run."""
    for line in reversed(log_tail):
        if not _ERROR_LINE.match(line.strip()) and "Error:" not in line and "error:" not in line:
            continue
        reason = _sign(line) or "crashed"
        return _failure(reason, gpu_memory.sentence(line) if reason == "oom_gpu" else line.strip()[:500])
    return None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _last_line(log_tail: Sequence[str]) -> str:
    return next((line.strip()[:500] for line in reversed(log_tail) if line.strip()), "")


def _signal_name(number: int) -> str:
    try:
        return f"{signals.Signals(number).name}, signal {number}"
    except ValueError:
        return f"signal {number}"
