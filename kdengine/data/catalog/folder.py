"""One's own pictures: a folder, zip or tar with one folder a class."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np

from kdengine.data.containers import Container, open_container
from kdengine.data.definition import Block, DatasetDefinition, Source
from kdengine.data.layout import Layout, find_layout
from kdengine.data.pictures import CorruptPicture, decode
from kdengine.errors import DataError
from kdengine.fields import Settings, setting
from kdengine.registry import DATASETS

log = logging.getLogger(__name__)

_BATCH_PICTURES = 256
_BATCH_BYTES = 32 << 20

Corrupt = list[tuple[str, str]]
Files = list[tuple[int, str, bytes]]


class FolderParams(Settings):
    """What a person says of their own pictures."""

    path: str = setting(
        ...,
        title="Folder or archive",
        description="A folder, .zip or .tar(.gz, .xz, .bz2) with <train|test>/<class>/ or <class>/ alone.",
        min_length=1,
    )
    on_corrupt: Literal["refuse", "skip"] = setting(
        "refuse",
        title="Corrupt pictures",
        description="Whether a picture that cannot be read stops everything, or is left out and counted.",
        source="our choice",
    )


class Folder(DatasetDefinition):
    """``<train|test>/<class>/*`` or ``<class>/*``; of the latter a stratified fifth is the test part."""

    name = "folder"
    title = "Own pictures"
    summary = "Your own pictures (jpg, png, bmp, webp, gif) in a folder, zip or tar, one folder a class."
    citation = ""
    Params = FolderParams

    def identity(self, params: FolderParams, root: Path) -> str:
        return f"{_container(params).identity()} on_corrupt={params.on_corrupt}"

    def open(self, params: FolderParams, root: Path) -> Source:
        container = _container(params)
        layout = find_layout(container.listing(), str(container.path))
        if layout.ignored:
            log.info("%s: %d file(s) that are no pictures were ignored", container.path, layout.ignored)

        def blocks(size: int) -> Iterator[Block]:
            corrupt: Corrupt = []
            yield from _decode_all(container, layout, size, corrupt)
            if corrupt:
                _tell(corrupt, params, container)

        return Source(layout.classes, layout.labels, layout.train_count, blocks)


def _container(params: FolderParams) -> Container:
    return open_container(Path(params.path).expanduser())


def _decode_all(container: Container, layout: Layout, size: int, corrupt: Corrupt) -> Iterator[Block]:
    """Decodes in threads, with a bounded number of batches in flight; adds what cannot be read to ``corrupt``."""
    workers = min(8, os.cpu_count() or 1)
    running: deque[Future[tuple[Block, Corrupt]]] = deque()
    missing = set(layout.paths)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        for batch in _batches(container, layout):
            missing.difference_update(name for _, name, _ in batch)
            running.append(pool.submit(_decode_batch, batch, size))
            if len(running) > 2 * workers:
                yield _collect(running.popleft(), corrupt)
        while running:
            yield _collect(running.popleft(), corrupt)
    corrupt.extend((name, "could not be read") for name in missing)


def _batches(container: Container, layout: Layout) -> Iterator[Files]:
    row_of = {name: row for row, name in enumerate(layout.paths)}
    batch: Files = []
    held = 0
    for name, content in container.read(row_of.keys()):
        batch.append((row_of[name], name, content))
        held += len(content)
        if len(batch) >= _BATCH_PICTURES or held >= _BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _decode_batch(batch: Files, size: int) -> tuple[Block, Corrupt]:
    rows, pictures, corrupt = [], [], []
    for row, name, content in batch:
        try:
            picture = decode(content, size)
        except CorruptPicture as error:
            corrupt.append((name, str(error) if content else "empty, too large or not readable"))
            continue
        rows.append(row)
        pictures.append(picture)
    block = np.stack(pictures) if pictures else np.empty((0, size, size, 3), np.uint8)
    return (np.array(rows, np.int64), block), corrupt


def _collect(done: Future[tuple[Block, Corrupt]], corrupt: Corrupt) -> Block:
    block, bad = done.result()
    corrupt.extend(bad)
    return block


def _tell(corrupt: Corrupt, params: FolderParams, container: Container) -> None:
    """Refuses corrupt pictures, or logs that they were left out, as the person asked."""
    shown = "\n".join(f"  {name}: {reason}" for name, reason in sorted(corrupt)[:10])
    more = f"\n  ... and {len(corrupt) - 10} more" if len(corrupt) > 10 else ""
    if params.on_corrupt == "skip":
        log.warning("%s: %d corrupt picture(s) were left out:\n%s%s", container.path, len(corrupt), shown, more)
        return
    raise DataError(
        f"{container.path} holds {len(corrupt)} corrupt picture(s):\n{shown}{more}\n"
        "mend or remove them, or leave them out with on_corrupt=skip"
    )


DATASETS.register("folder")(Folder())
