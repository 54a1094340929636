"""How fast a run trains."""

from __future__ import annotations

import time


class Pace:
    """Speed of this attempt: images a second over the recent past, seconds a step over all of it."""

    def __init__(self) -> None:
        self._began = 0.0
        self._images = 0
        self._steps = 0

    def start(self) -> None:
        """Begins an epoch."""
        self._began, self._images, self._steps = time.perf_counter(), 0, 0

    def count(self, images: int) -> None:
        """Notes one step."""
        self._images += images
        self._steps += 1

    def images_per_second(self) -> float:
        """Images a second in the current epoch."""
        return self._images / max(1e-9, time.perf_counter() - self._began)

    def seconds_per_step(self) -> float:
        """Seconds a step in the current epoch."""
        return (time.perf_counter() - self._began) / max(1, self._steps)
