"""Subjects for the tests of this room: images with something planted in them, nets set by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from support import NORM, TinyNet, bench

from kdengine.inspection.subject import Images, Subject
from kdengine.methods import Method
from kdengine.models import Backbone
from kdengine.training.teacher import FrozenTeacher

CLASSES = ("a", "b", "c", "d", "e")


class HandNet(TinyNet):
    """A TinyNet whose first map is the image's brightness."""

    def __init__(self) -> None:
        super().__init__()
        first = self.body["layers"][0]  # type: ignore[index]
        with torch.no_grad():
            first[0].weight.zero_()
            first[0].weight[:, :, 1, 1] = 1.0
        self.eval()


def some_images(count: int = 6, size: int = 16) -> Images:
    rng = np.random.default_rng(3)
    return Images(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8), np.arange(count) % len(CLASSES))


def with_spot(row: int, column: int, size: int = 16) -> Images:
    """One dark image with a bright pixel."""
    pixels = np.zeros((1, size, size, 3), np.uint8)
    pixels[0, row, column] = 255
    return Images(pixels, np.zeros(1, np.int64))


def subject_of(
    student: Backbone,
    images: Images | None = None,
    *,
    count: int = 6,
    method: Method | None = None,
    teacher: FrozenTeacher | None = None,
    many: Images | None = None,
) -> Subject:
    images = images or some_images(count, student.image_size)
    settings: dict[str, Any] = {"classes": CLASSES, "mean": NORM[0], "std": NORM[1]}
    return Subject(
        student=student, method=method or bench("none", student=student).method, teacher=teacher,
        images=images, many=many or images, **settings,
    )  # fmt: skip
