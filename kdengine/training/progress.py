"""How far a run has come, as its folder says."""

from __future__ import annotations

import time

from kdengine.training.running_sums import readable
from kdengine.workspace.rundir import RunDirectory

STATUS_S = 0.5
"""Seconds between two notes of the progress within an epoch; every event is written."""


class Progress:
    """Writes events and progress of a run while it trains.

    Args:
        run: its folder.
        epochs: of the recipe.
        steps: of an epoch.
    """

    def __init__(self, run: RunDirectory, epochs: int, steps: int) -> None:
        self.run = run
        self.epochs = epochs
        self.steps = steps
        self.attempt = int(run.status().get("attempt", 1))
        self._reported_at = 0.0

    def at(self, epoch: int, step: int) -> dict[str, int]:
        """As status.json holds it: epochs that are done, and steps of the one under way."""
        return {"epoch": epoch, "epochs": self.epochs, "step": step, "steps": self.steps}

    def step(
        self,
        epoch: int,
        step: int,
        terms: dict[str, tuple[float, float]],
        rate: float,
        speed: float,
        seconds_per_step: float,
    ) -> None:
        """Reports a step: means of the loss terms since the last one reported, learning rate and images a second."""
        self.run.append_event(
            {
                "kind": "step",
                "attempt": self.attempt,
                "step": epoch * self.steps + step,
                "epoch": epoch + 1,
                "loss": sum(weighted for _, weighted in terms.values()),
                "terms": readable(terms),
                "lr": rate,
                "images_per_s": round(speed, 1),
            }
        )
        now = time.time()
        # It is synced to the disk each time, which takes longer than many steps on a GPU.
        if now - self._reported_at >= STATUS_S or step == self.steps:
            self._reported_at = now
            self.run.update_status(
                phase="training",
                progress=self.at(epoch, step),
                progress_at=now,
                images_per_s=speed,
                eta_s=((self.epochs - epoch) * self.steps - step) * seconds_per_step,
            )
