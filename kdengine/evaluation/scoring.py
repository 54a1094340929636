"""What a network makes of images whose classes are known: accuracy, which classes it confuses, its worst mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from kdengine.evaluation.classifier import Prediction, squared
from kdengine.evaluation.many import normal

WORST = 24
SIDE = 96
"""Pixels of the image of a mistake."""


@dataclass(frozen=True, eq=False)
class Mistake:
    """An image that was taken for another class.

    Attributes:
        file: its name.
        truth, predicted: names of classes.
        confidence: in the wrong class, 0..1.
        pixels: uint8 (S, S, 3), small.
    """

    file: str
    truth: str
    predicted: str
    confidence: float
    pixels: np.ndarray


@dataclass(eq=False)
class Score:
    """Counts predictions.

    Attributes:
        classes: of the network.
        counts: int64 (C, C): how many images of class i were taken for class j.
        mistakes: the most confident ones first.
    """

    classes: tuple[str, ...]
    counts: np.ndarray = field(init=False)
    mistakes: list[Mistake] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        self._numbers = {normal(name): number for number, name in enumerate(self.classes)}

    @property
    def images(self) -> int:
        """How many were counted."""
        return int(self.counts.sum())

    @property
    def right(self) -> int:
        """How many of them were right."""
        return int(np.trace(self.counts))

    def add(self, file: str, truth: str, prediction: Prediction, image: Image.Image) -> bool:
        """Counts an image of a class folder; False, and nothing counted, where the network has no such class."""
        number = self._numbers.get(normal(truth))
        if number is None:
            return False
        predicted, confidence = prediction.top[0]
        taken_for = self._numbers[normal(predicted)]
        self.counts[number, taken_for] += 1
        if number != taken_for and (len(self.mistakes) < WORST or confidence > self.mistakes[-1].confidence):
            self.mistakes.append(Mistake(file, self.classes[number], predicted, confidence, squared(image, SIDE)))
            self.mistakes.sort(key=lambda mistake: -mistake.confidence)
            del self.mistakes[WORST:]
        return True
