"""Arms measured in turns: a round runs every arm once, in shuffled order, and ratios are formed within a round.

Neighbours on the machine then meet all arms alike. Beside the wall clock stands CPU time, of this process and of the
arm's own workers; on a busy machine it is the one to trust.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil
import torch

IDLE_S = 0.05
SETTLING = 1  # untimed steps at the head of a turn: caches and buffers are the last arm's until then


@dataclass
class Arm:
    """Something that does steps.

    Attributes:
        name: in tables.
        step: does one step, its batch included.
        images: in one step.
        take: draws one batch and throws it away, for arms whose workers prepare batches ahead; None for others.
        ahead: how many batches these workers may have ready.
        workers: processes of the arm's own.
        close: ends them.
    """

    name: str
    step: Callable[[], object]
    images: int
    take: Callable[[], object] | None = None
    ahead: int = 0
    workers: Callable[[], list[int]] = list
    close: Callable[[], None] = lambda: None


class Turn(NamedTuple):
    """Seconds an image took an arm in one round: by the clock on the wall, and of CPU time."""

    wall: float
    cpu: float


@dataclass
class Measured:
    """All turns, by arm, in the order of the rounds."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)

    def images_per_second(self, name: str) -> float:
        """Median over rounds, by the wall clock."""
        return 1 / statistics.median(turn.wall for turn in self.turns[name])

    def images_a_second(self, name: str, device: torch.device, threads: int) -> float:
        """For comparing with ceilings: by the wall clock on a GPU, by CPU time of all threads on a CPU; median."""
        if device.type == "cuda":
            return self.images_per_second(name)
        return threads / statistics.median(turn.cpu for turn in self.turns[name])

    def ratios(self, name: str, base: str, clock: str = "cpu") -> list[float]:
        """How many times as fast as ``base`` an arm is, in each round."""
        pairs = zip(self.turns[base], self.turns[name], strict=True)
        return [getattr(slow, clock) / getattr(quick, clock) for slow, quick in pairs]


def measure(
    arms: Sequence[Arm],
    *,
    device: torch.device,
    rounds: int,
    steps: int,
    warm_up: int = 3,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Runs all arms in turns.

    Args:
        arms: with names of their own.
        device: waited for before the clock is read.
        rounds: how often each arm has its turn.
        steps: timed steps in a turn.
        warm_up: steps of each arm before the first round; compiling happens there.
        seed: of the order of turns.
        report: called with what is under way.
    """
    names = [arm.name for arm in arms]
    assert len(set(names)) == len(names), "two arms have one name"
    for arm in arms:
        began = time.perf_counter()
        for _ in range(warm_up):
            arm.step()
        report(f"{arm.name}: warm after {time.perf_counter() - began:.1f} s")
    measured = Measured({name: [] for name in names})
    order = list(arms)
    generator = random.Random(seed)
    for number in range(rounds):
        generator.shuffle(order)
        for arm in order:
            measured.turns[arm.name].append(_turn(arm, device, steps))
        report(f"round {number + 1} of {rounds}")
    return measured


def _turn(arm: Arm, device: torch.device, steps: int) -> Turn:
    gc.collect()
    with _collector_off():
        drained = arm.ahead if arm.take is not None else 0
        before = _workers_cpu(arm)
        for _ in range(drained):  # what was made ready while other arms had their turn
            assert arm.take is not None
            arm.take()
        for _ in range(SETTLING):
            arm.step()
        _wait(device)
        wall, own = time.perf_counter(), time.process_time()
        for _ in range(steps):
            arm.step()
        _wait(device)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        # Until the workers have made up for what was taken: then they have worked for exactly that many batches.
        theirs = (_settled_workers_cpu(arm) - before) * steps / (steps + SETTLING + drained)
    images = steps * arm.images
    return Turn(wall / images, (own + theirs) / images)


class _collector_off:
    """Garbage is collected between turns, not within."""

    def __enter__(self) -> None:
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _workers_cpu(arm: Arm) -> float:
    return sum(_cpu_times(arm.workers()))


def _cpu_times(pids: list[int]) -> Iterator[float]:
    for pid in pids:
        times = psutil.Process(pid).cpu_times()
        yield times.user + times.system


def _settled_workers_cpu(arm: Arm) -> float:
    """CPU seconds of the workers once they rest."""
    seconds = _workers_cpu(arm)
    while arm.workers():
        time.sleep(IDLE_S)
        now = _workers_cpu(arm)
        if now - seconds < IDLE_S / 5:
            break
        seconds = now
    return seconds
