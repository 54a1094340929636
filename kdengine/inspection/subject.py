"""What is looked at: student, method and teacher as they are at one moment, and the images they are shown."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kdengine.data.bundle import Rgb
from kdengine.methods.base import Method
from kdengine.models.backbone import Backbone, Outputs, evaluating
from kdengine.training.teacher import FrozenTeacher

Arrays = dict[str, np.ndarray]
"""Arrays by name, float32, integers or uint8, on the host."""

CHUNK = 32
"""Images in one forward pass, so that memory does not grow with their number."""

UNKNOWN = -1
"""The label of an image whose class nobody knows."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images to inspect; equal where their contents are.

    Attributes:
        pixels: uint8 RGB (N, S, S, 3).
        labels: int64 (N,), `UNKNOWN` for uploaded ones.
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Images) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    @cached_property
    def _digest(self) -> bytes:
        contents = hashlib.blake2b(np.ascontiguousarray(self.pixels).data, digest_size=16)
        contents.update(repr(self.pixels.shape).encode() + np.ascontiguousarray(self.labels).tobytes())
        return contents.digest()

    def first(self, count: int) -> Images:
        """At most the first ``count`` of them."""
        return Images(self.pixels[:count], self.labels[:count])


@dataclass(frozen=True, eq=False)
class Subject:
    """Networks and images, ready to be inspected. Nothing here changes a weight, a statistic or a random state.

    Attributes:
        student: the network as it is evaluated and kept.
        method: with its own parts, as trained so far.
        teacher: None for a method without one.
        images: what maps, graphs and representations are drawn of.
        many: more images, for what counts predictions (confusion, calibration); often the same.
        classes: their names.
        mean, std: normalisation of the student's images.
    """

    student: Backbone
    method: Method
    teacher: FrozenTeacher | None
    images: Images
    many: Images
    classes: tuple[str, ...]
    mean: Rgb
    std: Rgb

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.student.parameters()).device

    @property
    def networks(self) -> dict[str, Callable[[Tensor], Outputs]]:
        """ "student" and, where there is one, "teacher": images as the student takes them -> Outputs."""
        found: dict[str, Callable[[Tensor], Outputs]] = {"student": self.student}
        if self.teacher is not None:
            found["teacher"] = self.teacher
        return found

    def showing(self, images: Images) -> Subject:
        """The same networks before other images."""
        return replace(self, images=images)

    def tensor(self, pixels: np.ndarray) -> Tensor:
        """Pixels as the student takes them: float32 (N, 3, S, S) on the device."""
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        normalised = (pixels.astype(np.float32) / 255 - mean) / std
        # Transposed, not copied: that is the layout channels_last, as networks want it.
        return torch.from_numpy(normalised).permute(0, 3, 1, 2).to(self.device)

    def chunks(self, images: Images | None = None) -> Iterator[Tensor]:
        """The images as the student takes them, at most `CHUNK` at a time."""
        pixels = (self.images if images is None else images).pixels
        for start in range(0, len(pixels), CHUNK):
            yield self.tensor(pixels[start : start + CHUNK])

    @contextmanager
    def still(self) -> Iterator[None]:
        """Eval mode of everything, for a while."""
        with evaluating(self.student), evaluating(self.method):
            yield

    @cached_property
    def outputs(self) -> dict[str, Outputs]:
        """Everything that student and teacher give for ``images``, at once: for at most some hundred of them."""
        with self.still(), torch.no_grad():
            return {who: _joined([network(chunk) for chunk in self.chunks()]) for who, network in self.networks.items()}

    @cached_property
    def logits(self) -> dict[str, Tensor]:
        """Logits (N, C) of student, teacher and of each exit by its name, for ``many``; float32 on the host."""
        exits = self.method.exits()
        found: dict[str, list[Tensor]] = {}
        with self.still(), torch.no_grad():
            for chunk in self.chunks(self.many):
                outputs = self.student(chunk)
                logits = {exit_.name: exit_.logits(outputs) for exit_ in exits} | {"student": outputs.logits}
                if self.teacher is not None:
                    logits["teacher"] = self.teacher(chunk).logits
                for name, values in logits.items():
                    found.setdefault(name, []).append(values.float().cpu())
        return {name: torch.cat(values) for name, values in found.items()}


def _joined(parts: list[Outputs]) -> Outputs:
    stages = tuple(torch.cat(maps) for maps in zip(*(part.stages for part in parts), strict=True))
    return Outputs(torch.cat([part.logits for part in parts]), torch.cat([part.embedding for part in parts]), stages)


def on_host(values: Tensor) -> np.ndarray:
    """A tensor as an array: floating point numbers as float32."""
    values = values.detach().cpu()
    return np.asarray(values.float() if values.is_floating_point() else values)
