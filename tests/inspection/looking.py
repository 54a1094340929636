"""Subjects for the tests of this room: pictures with something planted in them, nets set by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from support import NORM, TinyNet, bench

from kdengine.inspection.subject import Pictures, Subject
from kdengine.methods import Method
from kdengine.models import Backbone
from kdengine.training.teacher import FrozenTeacher

CLASSES = ("a", "b", "c", "d", "e")


class HandNet(TinyNet):
    """A TinyNet whose first map is the picture's brightness."""

    def __init__(self) -> None:
        super().__init__()
        first = self.body["layers"][0]  # type: ignore[index]
        with torch.no_grad():
            first[0].weight.zero_()
            first[0].weight[:, :, 1, 1] = 1.0
        self.eval()


def some_pictures(count: int = 6, size: int = 16) -> Pictures:
    rng = np.random.default_rng(3)
    return Pictures(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8), np.arange(count) % len(CLASSES))


def with_spot(row: int, column: int, size: int = 16) -> Pictures:
    """One dark picture with a bright pixel."""
    pixels = np.zeros((1, size, size, 3), np.uint8)
    pixels[0, row, column] = 255
    return Pictures(pixels, np.zeros(1, np.int64))


def subject_of(
    student: Backbone,
    pictures: Pictures | None = None,
    *,
    count: int = 6,
    method: Method | None = None,
    teacher: FrozenTeacher | None = None,
    many: Pictures | None = None,
) -> Subject:
    pictures = pictures or some_pictures(count, student.image_size)
    settings: dict[str, Any] = {"classes": CLASSES, "mean": NORM[0], "std": NORM[1]}
    return Subject(
        student=student, method=method or bench("none", student=student).method, teacher=teacher,
        pictures=pictures, many=many or pictures, **settings,
    )  # fmt: skip
