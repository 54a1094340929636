"""Decodes the image files of a container in threads, as a stream of blocks with a bound on what is held."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from kdengine.data.definition import Block
from kdengine.data.sources.containers import Container
from kdengine.data.sources.image_files import DROPPED, CorruptImage, PixelBudget, decode, open_image

_BATCH_IMAGES = 256
_BATCH_BYTES = 32 << 20

Corrupt = list[tuple[str, str]]
Files = list[tuple[int, str, bytes]]


def decode_files(
    container: Container, paths: Sequence[str], size: int, corrupt: Corrupt, ground: str = DROPPED
) -> Iterator[Block]:
    """Blocks of the files of those paths: (rows, images uint8 RGB (n, size, size, 3)), row i being ``paths[i]``.

    They come in the order that is cheapest to read. Of files and images no more is held than a few batches a thread
    (256 images or 32 MB of files each). What is missing or cannot be read is added to ``corrupt`` as (path, reason),
    and its row never comes. Transparent parts are laid on ``ground`` (`image_files.GROUNDS`).

    Raises DataError when the images unpack to more pixels than their bytes can mean.
    """
    budget = PixelBudget(container.name)
    workers = min(8, os.cpu_count() or 1)
    running: deque[Future[tuple[Block, Corrupt]]] = deque()
    missing = set(paths)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        for batch in _batches(container, paths):
            missing.difference_update(name for _, name, _ in batch)
            running.append(pool.submit(_decode_batch, batch, size, budget, ground))
            if len(running) > 2 * workers:
                yield _collect(running.popleft(), corrupt)
        while running:
            yield _collect(running.popleft(), corrupt)
    corrupt.extend((name, "could not be read") for name in missing)


def _batches(container: Container, paths: Sequence[str]) -> Iterator[Files]:
    row_of = {name: row for row, name in enumerate(paths)}
    batch: Files = []
    held = 0
    for name, content in container.read(row_of.keys()):
        batch.append((row_of[name], name, content))
        held += len(content)
        if len(batch) >= _BATCH_IMAGES or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _decode_batch(batch: Files, size: int, budget: PixelBudget, ground: str) -> tuple[Block, Corrupt]:
    rows, decoded, corrupt = [], [], []
    images = []
    for row, name, content in batch:
        try:
            images.append((row, name, open_image(content)))
        except CorruptImage as error:
            corrupt.append((name, str(error) if content else "empty, too large or not readable"))
            continue
        budget.spend(images[-1][2], content)
    for row, name, image in images:
        try:
            decoded.append(decode(image, size, ground))
        except CorruptImage as error:
            corrupt.append((name, str(error)))
            continue
        rows.append(row)
    block = np.stack(decoded) if decoded else np.empty((0, size, size, 3), np.uint8)
    return (np.array(rows, np.int64), block), corrupt


def _collect(done: Future[tuple[Block, Corrupt]], corrupt: Corrupt) -> Block:
    block, bad = done.result()
    corrupt.extend(bad)
    return block
