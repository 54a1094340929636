"""What a person should know of their images before training: counts, sizes, imbalance, and images that occur twice.

Two files are the same image when their bytes are equal. Images that only look alike are not found here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from kdengine.data.wording import SHOWN, some

IMBALANCED = 5.0
"""The largest class over the smallest, from which on accuracy alone says little."""

SIDES = (16, 24, 32, 48, 64, 96, 128, 160, 224)
"""Image sizes that are usual; the largest is where most published networks stop."""


@dataclass(frozen=True)
class Oddities:
    """What was found.

    Attributes:
        train, test: images of each class, in the order of the classes.
        sides: shortest, median and longest of the images' shorter sides, in pixels.
        repeated: images of the training part whose bytes were there before.
        leaked: images of the test part that are in the training part too; ``leaks`` names some, and what they equal.
        conflicts: images that stand in several classes; ``disputed`` names some.
        transparent: images with transparent parts.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    sides: tuple[int, int, int]
    repeated: int
    leaked: int
    leaks: tuple[str, ...]
    conflicts: int
    disputed: tuple[str, ...]
    transparent: int = 0

    @property
    def imbalance(self) -> float:
        """Training images of the largest class over those of the smallest."""
        return max(self.train) / max(1, min(self.train))

    @property
    def image_size(self) -> int:
        """The largest usual size to which at least half of the images need not be enlarged."""
        return max((side for side in SIDES if side <= self.sides[1]), default=SIDES[0])

    @property
    def metric(self) -> str:
        """What tells how good a network is on these data."""
        return "accuracy of each class" if self.imbalance >= IMBALANCED else "accuracy"

    def warnings(self, classes: Sequence[str]) -> list[str]:
        """What speaks against trusting results on these data, a sentence each.

        Args:
            classes: their names.
        """
        said = []
        if self.leaked:
            said.append(
                f"{self.leaked:,} test images are in the training part too, so that test accuracy is too high: "
                f"{some(self.leaks)}"
            )
        if self.conflicts:
            said.append(f"{self.conflicts:,} images stand in more than one class: {some(self.disputed)}")
        if self.repeated:
            said.append(f"{self.repeated:,} training images are there more than once")
        if self.transparent:
            said.append(
                f"{self.transparent:,} image(s) with transparent parts, of which the colours beneath are taken, often "
                "black; data.transparent lays them on white or black"
            )
        if self.imbalance >= IMBALANCED:
            most, least = (classes[self.train.index(count)] for count in (max(self.train), min(self.train)))
            said.append(
                f"{most} has {self.imbalance:.0f} times as many training images as {least}: look at the accuracy of "
                "each class, and not at the whole alone"
            )
        return said


class Tally:
    """Counts image by image.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self._counts = {part: [0] * classes for part in ("train", "test")}
        self._sides: list[int] = []
        self._transparent = 0
        self._seen: dict[bytes, list[tuple[str, str, int]]] = {}

    def add(
        self, path: str, part: str, label: int, content: bytes, size: tuple[int, int], transparent: bool = False
    ) -> None:
        """An image that opens.

        Args:
            path: as messages name it.
            part: "train" or "test".
            label: of its class.
            content: the file's bytes.
            size: width and height in pixels.
            transparent: whether parts of it are.
        """
        self._counts[part][label] += 1
        self._sides.append(min(size))
        self._transparent += transparent
        self._seen.setdefault(hashlib.blake2b(content, digest_size=16).digest(), []).append((path, part, label))

    def result(self) -> Oddities:
        """What all images together show."""
        several = [places for places in self._seen.values() if len(places) > 1]
        repeated = sum(max(0, Counter(part for _, part, _ in places)["train"] - 1) for places in several)
        leaks = [
            f"{path} = {same}"
            for places in several
            if (same := next((path for path, part, _ in places if part == "train"), None)) is not None
            for path, part, _ in places
            if part == "test"
        ]
        disputed = [
            " = ".join(path for path, _, _ in places)
            for places in several
            if len({label for _, _, label in places}) > 1
        ]
        sides = self._sides or [0]
        return Oddities(
            train=tuple(self._counts["train"]),
            test=tuple(self._counts["test"]),
            sides=(min(sides), int(median(sides)), max(sides)),
            repeated=repeated,
            leaked=len(leaks),
            leaks=tuple(leaks[:SHOWN]),
            conflicts=len(disputed),
            disputed=tuple(disputed[:SHOWN]),
            transparent=self._transparent,
        )
