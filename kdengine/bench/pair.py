"""What all arms work on: one teacher and student with fixed weights, one set of images, one loss, one optimiser."""

from __future__ import annotations

import copy
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdengine.data.bundle import Part
from kdengine.models import Backbone, build_model

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
PADDING = 4
TEMPERATURE, CE_WEIGHT, KD_WEIGHT = 4.0, 0.1, 0.9
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4


@dataclass(frozen=True)
class Pair:
    """Teacher and student on random images: how long a step takes does not depend on what they show.

    Attributes:
        teacher, student: catalog names.
        image_size: side in pixels.
        batch_size: images in a step.
        classes: number of logits.
        images: in the training part.
        device: where it computes.
        kept: where the fastest ways are kept once they are measured; None = for as long as this pair is there.
    """

    teacher: str
    student: str
    image_size: int = 32
    batch_size: int = 64
    classes: int = 100
    images: int = 2048
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    kept: Path | None = None

    def __str__(self) -> str:
        return f"{self.teacher} -> {self.student}, {self.image_size} px, batches of {self.batch_size}"

    @cached_property
    def _folder(self) -> Path:
        path = Path(tempfile.mkdtemp(prefix="kd-bench-"))
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        return path

    @property
    def cache(self) -> Path:
        """Folder of what is measured."""
        return self.kept or self._folder

    @cached_property
    def part(self) -> Part:
        """The images, uint8, and their labels."""
        generator = np.random.default_rng(0)
        shape = (self.images, self.image_size, self.image_size, 3)
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        labels = generator.integers(0, self.classes, self.images)
        return Part(pixels, np.arange(self.images), labels)

    @cached_property
    def _nets(self) -> tuple[Backbone, Backbone]:
        torch.manual_seed(0)
        teacher, student = (build_model(name, self.classes, self.image_size) for name in (self.teacher, self.student))
        for module in student.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # arms that draw other random numbers could not be compared
        return teacher, student

    def new_teacher(self) -> Backbone:
        """A copy of the teacher, in eval mode and frozen."""
        return copy.deepcopy(self._nets[0]).eval().requires_grad_(False)

    def new_student(self) -> Backbone:
        """A copy of the student as it starts."""
        return copy.deepcopy(self._nets[1])
