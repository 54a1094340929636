"""What of an epoch is no step: making the images, waiting for the GPU, validating and writing at its end."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from kdengine.bench import Pair, measure, report
from kdengine.bench import pair as numbers
from kdengine.bench.engine import Switches, endless, engine_arm, gather_arm, loader, trainer
from kdengine.data.batches.loader import Batch, BatchLoader
from kdengine.workspace.rundir import RunDirectory
from side_by_side.goals import Part
from side_by_side.timing import WARM_UP

EPOCHS = 4
VALIDATED = 0.1
"""Share of the images that are validated on after an epoch, as many as Launch holds out."""


def time_epoch(pair: Pair, rounds: int, steps: int, switches: Switches) -> Part:
    """All three: percent of a step, how often in a step, percent of an epoch."""
    arms = [engine_arm("step", pair, switches), gather_arm("images", pair, switches.compile)]
    measured = measure(arms, device=pair.device, rounds=rounds, steps=steps, warm_up=WARM_UP, report=print)
    clock = "wall" if pair.device.type == "cuda" else "cpu"
    found = {
        "gather_percent": 100 / statistics.median(measured.ratios("images", "step", clock)),
        "waits": waits_in_a_step(pair, switches),
        "end_percent": 100 * share_of_the_end(pair, switches),
    }
    return {"pair": f"an epoch: {pair}", "arms": report.rows(measured, "step"), "epoch": found}


def waits_in_a_step(pair: Pair, switches: Switches) -> int | None:
    """How often the host waits for the GPU within a step, as PyTorch's own watch tells; None without a GPU."""
    if pair.device.type != "cuda":
        return None
    batches = loader(pair, switches)
    loop, stream = trainer(pair, switches, batches), endless(batches)
    loop.module.train()
    for _ in range(2 * WARM_UP):
        loop.train_step(next(stream))
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            loop.train_step(next(stream))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in told)


def share_of_the_end(pair: Pair, switches: Switches) -> float:
    """Validation, checkpoint and weights as a share of an epoch's wall time, 0..1; the first epoch is not counted."""
    ends: list[tuple[float, float]] = []
    began: list[float] = []
    batches = loader(pair, switches)
    held_out = BatchLoader(
        pair.part, batch_size=1000, mean=numbers.MEAN, std=numbers.STD, device=pair.device, seed=0, augmentation=None,
        shuffle=False, drop_last=False,
    )  # fmt: skip
    count = max(1, round(VALIDATED * held_out.steps_per_epoch))

    def now() -> float:
        if pair.device.type == "cuda":
            torch.cuda.synchronize(pair.device)
        return time.perf_counter()

    def validation() -> Iterator[Batch]:
        began.append(now())
        return itertools.islice(held_out.epoch(0), count)

    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        run.checkpoints.mkdir(parents=True)
        trainer(
            pair, switches, batches, epochs=EPOCHS, run=run, validation=validation,
            on_checkpoint=lambda: ends.append((began[-1], now())),
        ).fit()  # fmt: skip
    shares = [(end - start) / (end - before) for (_, before), (start, end) in itertools.pairwise(ends)]
    return statistics.median(shares)
