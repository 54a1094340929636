"""Cached teacher logits: what a teacher gives for a view is stored, and read when the same view comes again.

A view is one of finitely many of its image (a padded crop, mirrored or not), so it comes again within a run, and all
of a run's views come again when another method or student is trained with the same seed. Valid for identical views
only: a table belongs to one teacher, data set, augmentation and precision, by its name, and is tried against the live
teacher on a random batch before it is used. An index of images alone would not do: it forgets how they were changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdengine.data.batches.loader import Batch
from kdengine.evaluation.cost import median_seconds
from kdengine.methods.base import BatchLike, Needs
from kdengine.models.backbone import Backbone, Outputs, Shapes
from kdengine.training.teacher import FrozenTeacher, TeacherOutputs
from kdengine.workspace import files

log = logging.getLogger(__name__)

FORMAT = 1
MAX_BYTES = 4 << 30
"""Tables that would grow beyond this are not begun."""
MIN_LIVE = 32
"""Fewer images at once are computed by other kernels on a CPU, whose last bit differs."""
TRIED = 64
TIMED = 3
TOLERANCE = 1e-3
"""How far cached logits may be from live ones, relative to the largest; in reduced precision ten times that."""


def cacheable(needs: Needs) -> bool:
    """Whether a method reads only what is worth storing of a teacher: logits and embedding, no maps."""
    return bool(needs.teacher) and set(needs.teacher) <= {"logits", "embedding"}


@dataclass(frozen=True)
class TableKey:
    """All that decides what a teacher gives for view number v of sample n.

    Attributes:
        teacher: digest of its weights, and the normalisation it sees the batches with.
        data: digest of images, labels and split.
        samples: training images, N.
        views: what is done to them, in words, and the number of views an image has, V.
        width: numbers stored of each view: logits, and the embedding where it is wanted.
        precision: that the teacher computes in: "fp32", "tf32", "bf16" or "fp16".
    """

    teacher: str
    data: str
    samples: int
    views: str
    slots: int
    width: int
    precision: str

    @property
    def name(self) -> str:
        """Of the table's folder: 32 hex digits."""
        described = json.dumps({"format": FORMAT} | asdict(self), sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()[:32]

    @property
    def bytes(self) -> int:
        """Of a full table."""
        return self.slots * self.samples * (4 * self.width + 1)


class LogitsTable:
    """Logits of a teacher on disk, float32 (V, N, width), and which of them are there.

    Files ``answers`` and ``filled`` grow as they are filled; what is not there takes no room. One process fills a
    table, others read it meanwhile. Written by plain writes: a full disk is an error then, not the end of the process.
    """

    def __init__(self, folder: Path, key: TableKey, writable: bool) -> None:
        self.folder = folder
        self.key = key
        self.writable = writable
        cells = key.slots * key.samples
        for name, size in (("answers", cells * key.width * 4), ("filled", cells)):
            with (folder / name).open("ab") as file:
                file.truncate(size)
        self._logits: np.ndarray = np.memmap(folder / "answers", np.float32, "r", shape=(cells, key.width))
        self._filled: np.ndarray = np.memmap(folder / "filled", np.uint8, "r", shape=(cells,))
        self._files = [os.open(folder / name, os.O_RDWR) for name in ("answers", "filled")]

    def cells(self, rows: Tensor, slots: Tensor) -> np.ndarray:
        """Place of each (sample number, view number): int64 (n,)."""
        found: np.ndarray = (slots.numpy() * self.key.samples + rows.numpy()).astype(np.int64)
        return found

    def known(self, cells: np.ndarray) -> np.ndarray:
        """Which of these rows are there: bool (n,)."""
        found: np.ndarray = self._filled[cells] != 0
        return found

    def read(self, cells: np.ndarray) -> np.ndarray:
        """Logits float32 (n, width); zeros where there are none."""
        return np.asarray(self._logits[cells])

    def write(self, cells: np.ndarray, logits: np.ndarray) -> None:
        """Stores logits float32 (n, width); the last thing written of each is that it is there."""
        if not self.writable:
            return
        logits = np.ascontiguousarray(logits, np.float32)
        try:
            for cell, row in zip(cells.tolist(), logits, strict=True):
                os.pwrite(self._files[0], row.tobytes(), cell * self.key.width * 4)
            for cell in cells.tolist():
                os.pwrite(self._files[1], b"\1", cell)
        except OSError as error:
            self.writable = False
            log.warning("no more of the teacher's logits are cached (%s); the run goes on with the live teacher", error)

    def clear(self) -> None:
        """Forgets everything stored."""
        for file, array in zip(self._files, (self._logits, self._filled), strict=True):
            size = array.nbytes
            os.ftruncate(file, 0)
            os.ftruncate(file, size)

    def some_known(self, count: int, generator: torch.Generator) -> np.ndarray:
        """At most ``count`` places that are filled, drawn at random: int64 (n,)."""
        filled = np.flatnonzero(self._filled)
        chosen = torch.randperm(len(filled), generator=generator)[:count]
        found: np.ndarray = filled[chosen.numpy()]
        return found

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            os.close(file)


@contextlib.contextmanager
def open_table(cache: Path, key: TableKey) -> Iterator[LogitsTable]:
    """The table of that key in ``<cache>/replay``, made if there is none; filled by the first process that opens it."""
    folder = cache / "replay" / key.name
    folder.mkdir(parents=True, exist_ok=True)
    with files.lock(folder / "filling.lock", blocking=False) as mine:
        files.write_json(folder / "meta.json", {"format": FORMAT} | asdict(key))
        table = LogitsTable(folder, key, writable=mine)
        try:
            yield table
        finally:
            table.close()


def filled_share(cache: Path, key: TableKey) -> float:
    """Share of a table's rows that are there, 0..1; 0 when there is no table."""
    file = cache / "replay" / key.name / "filled"
    if not file.is_file() or not file.stat().st_size:
        return 0.0
    return float(np.count_nonzero(np.memmap(file, np.uint8, "r"))) / file.stat().st_size


def expected_live(slots: int, epochs: int, filled: float = 0.0) -> float:
    """Share of a teacher's logits that are computed, not read, in a run that draws views uniformly, 0..1.

    Args:
        slots: V, views an image has.
        epochs: how often each image is seen.
        filled: share of the table that is there before, 0..1.
    """
    return (1 - filled) * slots * (1 - (1 - 1 / slots) ** epochs) / epochs


class CachedTeacher:
    """A frozen teacher that reads its logits from a table where they are there, and stores those it computes.

    Args:
        teacher: computes what is not there.
        table: of this teacher, these data and their views.
    """

    def __init__(self, teacher: FrozenTeacher, table: LogitsTable) -> None:
        self.teacher = teacher
        self.table = table
        self.read = self.computed = 0
        self._classes = teacher.shapes().classes
        # Batches of one size: what is compiled stays so, and a GPU is not asked which images are missing.
        self._whole = teacher.compiled or teacher.device.type == "cuda"

    @property
    def backbone(self) -> Backbone:
        """The plain network."""
        found: Backbone = self.teacher.backbone
        return found

    def shapes(self) -> Shapes:
        """Sizes of the teacher's outputs."""
        return self.teacher.shapes()

    @property
    def stored_bytes(self) -> int:
        """Bytes of the teacher's weights."""
        return self.teacher.stored_bytes

    def __call__(self, x: Tensor) -> Outputs:
        """What the teacher gives for images (B, 3, H, W); nothing is read or stored."""
        return self.teacher(x)

    def outputs_for(self, batch: BatchLike) -> TeacherOutputs:
        """Logits and, where it is stored, embedding for every view of a batch; stage maps are left out."""
        drawn = batch.drawn if isinstance(batch, Batch) else None
        if drawn is None:
            return self.teacher.outputs_for(batch)
        known = zip(batch.views, drawn.views, drawn.slots, strict=True)
        outputs = [
            # A method may have changed a view: then nothing is stored of it.
            self._read_or_compute(view, drawn.rows, slots) if view is before else self.teacher(view)
            for view, before, slots in known
        ]
        return TeacherOutputs(batch.views, tuple(outputs), self.teacher)

    def _read_or_compute(self, view: Tensor, rows: Tensor, slots: Tensor) -> Outputs:
        cells = self.table.cells(rows, slots)
        missing = np.flatnonzero(~self.table.known(cells))
        self.read += len(cells) - len(missing)
        self.computed += len(missing)
        values = self.table.read(cells)
        if len(missing):
            live = self._live_places(missing, len(cells))
            fresh = self._packed(self.teacher(view if len(live) == len(cells) else view[torch.from_numpy(live)]))
            wanted = np.isin(live, missing)
            values[missing] = fresh[wanted]
            self.table.write(cells[missing], fresh[wanted])
        return self._sent(values, view.device)

    def _sent(self, values: np.ndarray, device: torch.device) -> Outputs:
        """Stored rows as outputs on the device."""
        stored = torch.from_numpy(values)
        if device.type == "cuda":  # only from such memory a copy runs beside the device's work
            stored = stored.pin_memory()
        return self._unpacked(stored.to(device, non_blocking=True))

    def _live_places(self, missing: np.ndarray, batch: int) -> np.ndarray:
        """Places of the batch to compute, ascending: what is missing, and as many others as make a full kernel."""
        if self._whole or len(missing) >= batch:
            return np.arange(batch)
        size = min(batch, -(-len(missing) // MIN_LIVE) * MIN_LIVE)
        others = np.setdiff1d(np.arange(batch), missing)[: size - len(missing)]
        return np.sort(np.concatenate([missing, others]))

    def _packed(self, outputs: Outputs) -> np.ndarray:
        parts = [outputs.logits.float()]
        if self.table.key.width > self._classes:
            parts.append(outputs.embedding.float())
        return torch.cat(parts, dim=1).cpu().numpy()

    def _unpacked(self, values: Tensor) -> Outputs:
        return Outputs(values[:, : self._classes], values[:, self._classes :], ())

    def check(self, views_at: Callable[[Tensor, Tensor], Tensor], seed: int) -> bool:
        """Compares some cached logits with live ones; clears the table and says so when they differ.

        Args:
            views_at: sample and view numbers (n,) -> images (n, 3, H, W), as the data path makes them.
            seed: of the choice.

        Returns:
            Whether they agreed; True for an empty table.
        """
        cells = self.table.some_known(TRIED, torch.Generator().manual_seed(seed))
        if not len(cells):
            return True
        slots, rows = (torch.from_numpy(part.astype(np.int64)) for part in divmod(cells, self.table.key.samples))
        images = views_at(rows, slots)
        live = self._packed(self.teacher(images))
        stored = self.table.read(cells)
        apart = float(np.abs(live - stored).max()) / max(float(np.abs(live).max()), 1e-6)
        if apart <= TOLERANCE * (10 if self.teacher.reduced is not None else 1):
            return True
        log.warning("cached teacher logits differ from live ones by %.2g of the largest; they are computed anew", apart)
        if self.table.writable:
            self.table.clear()
        return False

    def seconds(self, view: Tensor, rows: Tensor, slots: Tensor) -> tuple[float, float]:
        """Median seconds that a batch takes: read, as though all of it were stored, and computed by the teacher.

        Args:
            view: images (n, 3, H, W).
            rows, slots: their sample and view numbers (n,).
        """
        cells = self.table.cells(rows, slots)
        read = median_seconds(lambda: self._sent(self.table.read(cells), view.device), view.device, TIMED)
        return read, median_seconds(lambda: self.teacher(view), view.device, TIMED)

    def summary(self) -> dict[str, Any]:
        """How many rows of logits were read and computed so far."""
        return {"read": self.read, "computed": self.computed}
