"""What all arms work on: one teacher and student with fixed weights, one set of pictures, one loss, one optimiser."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property

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
    """Teacher and student on random pictures: how long a step takes does not hang on what they show.

    Attributes:
        teacher, student: catalog names.
        image_size: side in pixels.
        batch_size: pictures in a step.
        classes: of the answers.
        pictures: in the training part.
        device: where it computes.
    """

    teacher: str
    student: str
    image_size: int = 32
    batch_size: int = 64
    classes: int = 100
    pictures: int = 2048
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __str__(self) -> str:
        return f"{self.teacher} -> {self.student}, {self.image_size} px, batches of {self.batch_size}"

    @cached_property
    def part(self) -> Part:
        """The pictures, uint8, and their labels."""
        generator = np.random.default_rng(0)
        shape = (self.pictures, self.image_size, self.image_size, 3)
        images = generator.integers(0, 256, shape, dtype=np.uint8)
        labels = generator.integers(0, self.classes, self.pictures)
        return Part(images, np.arange(self.pictures), labels)

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
