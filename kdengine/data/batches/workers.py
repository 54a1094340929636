"""Images out of the mapped store, packed for the device; by processes of their own where that saves waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdengine.data.bundle import Part
from kdengine.errors import KdError
from kdengine.processes import live_with_parent

MAX_WORKERS = 4
CHUNK = 4096
WATCH_S = 0.5


def packed(part: Part, ids: np.ndarray, padding: int) -> Tensor:
    """Images of these sample numbers, with ``padding`` black pixels on each side.

    Returns:
        int32 (n, P, P), P = side + 2 * padding: each pixel's R, G, B, 0 in one number.
    """
    size = part.images.shape[1]
    side = size + 2 * padding
    inner = slice(padding, padding + size)
    pixels = np.zeros((len(ids), side, side, 4), np.uint8)
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        pixels[start : start + len(chunk), inner, inner, :3] = part.take(chunk)
    return torch.from_numpy(pixels.view(np.int32)[..., 0])


def default_workers(device: torch.device) -> int:
    """Processes that read for a loader that names no number: none on a CPU, whose cores train already.

    Where several runs share the machine, its queue says in ``KD_CORES`` how many cores are this one's.
    """
    share = os.environ.get("KD_CORES", "")
    cores = int(share) if share.isdigit() else os.cpu_count() or 1
    return min(MAX_WORKERS, cores) if device.type == "cuda" else 0


def read_batches(part: Part, batches: Sequence[np.ndarray], padding: int, workers: int, pin: bool) -> Iterator[Tensor]:
    """Yields the packed images of each batch, in order, read ahead when there are workers.

    The workers end with the iterator, also one that is closed early, and with this process, however it ends.

    Args:
        batches: sample numbers of each batch.
        padding: black pixels on each side.
        workers: processes that read; 0 = this one, when it is asked.
        pin: whether the batches come in page-locked memory, for a copy that runs beside the device's work.

    Raises:
        KdError: a worker ended or failed.
    """
    loader: DataLoader[Tensor] = DataLoader(
        _Packed(part, padding),
        batch_size=None,
        sampler=batches,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=partial(_begin, os.getpid()) if workers else None,
        # Of its own: the global one decides dropout, and must not depend on where the images lie.
        generator=torch.Generator(),
        # The mapped store is shared as it is; other ways to start would pickle it, all images in memory.
        multiprocessing_context="fork" if workers else None,
    )
    stream = _start(loader)
    try:
        for _ in batches:
            yield next(stream)
    except (RuntimeError, OSError, EOFError) as error:
        if not workers:
            raise
        raise KdError(
            f"a process that reads images for the training failed: {error}. Often memory ran out, or the shared "
            "memory (/dev/shm) that batches travel through; resume the run, with runtime.workers=0 if it happens again"
        ) from error
    finally:
        if workers:
            # There is no public way. Without it they live on as long as somebody holds the traceback of an error.
            # Where a worker has died, PyTorch's signal handler raises wherever this process is: here too, and it is
            # reported already.
            with contextlib.suppress(RuntimeError):
                stream._shutdown_workers()


class _Packed(Dataset[Tensor]):
    """Gives the packed images of one batch at a time; holds nothing of the device, which a fork must not touch."""

    def __init__(self, part: Part, padding: int) -> None:
        self._part = part
        self._padding = padding

    def __getitem__(self, ids: np.ndarray) -> Tensor:
        return packed(self._part, ids, self._padding)


def _start(loader: DataLoader[Tensor]) -> Any:
    """Starts the workers, without the handler that torch installs for their death.

    It would raise in the midst of whatever runs, a checkpoint for example; waiting for a batch finds it out too.
    """
    if threading.current_thread() is not threading.main_thread():
        return _with_own_end(iter(loader))
    before = signal.getsignal(signal.SIGCHLD)
    try:
        return _with_own_end(iter(loader))
    finally:
        signal.signal(signal.SIGCHLD, before)


def _with_own_end(stream: Any) -> Any:
    if hasattr(stream, "_workers_done_event"):  # there are workers
        stream._workers_done_event = _End(stream._workers)
    return stream


class _End:
    """Ends the workers, in place of PyTorch's event that asks them to: they are killed.

    Each look at that event takes its lock, by the workers and by this process. A worker that somebody killed with the
    lock in its hands keeps it for good, and PyTorch would wait for ever; nor can one tell by a look: its connection
    may break before it counts as dead. A worker has nothing that outlives it, so none needs to be asked.
    """

    def __init__(self, workers: Sequence[Any]) -> None:
        self._workers = workers
        self._ended = False

    def is_set(self) -> bool:
        """As of the event."""
        return self._ended

    def set(self) -> None:
        """As of the event."""
        self._ended = True
        for worker in self._workers:
            worker.kill()


def _begin(parent: int, number: int) -> None:
    """First thing in a worker: Ctrl-C is the parent's business, and none outlives a killed parent.

    One that did would hold the lock of the run, which it inherited, and keep it from being resumed.
    """
    live_with_parent(parent, WATCH_S)
