"""The loop that papers on distillation are built on, written after mdistiller (megvii-research/mdistiller, a08d46f).

What it does is kept: images changed one by one with PIL in worker processes, float32, contiguous layout, student
before teacher, no fused optimiser, loss and accuracies read on the host after every step, and formatted for a bar.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from kdengine.bench import pair as numbers
from kdengine.bench.pair import Pair
from kdengine.bench.rounds import Arm
from kdengine.data.bundle import Part

PREFETCH = 2


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images that are cropped, mirrored, converted and normalised one by one."""

    def __init__(self, part: Part) -> None:
        from torchvision import transforms

        size = part.images.shape[1]
        self.part = part
        self.change = transforms.Compose(
            [
                transforms.RandomCrop(size, padding=numbers.PADDING),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(numbers.MEAN, numbers.STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(np.asarray(self.part.images[self.part.index[index]]))
        return self.change(image), int(self.part.labels[index])


class PilBatches:
    """Endless batches of a DataLoader over `PilImages`.

    Args:
        pair: images and batch size.
        workers: processes; 0 = in this one.
        tuned: pinned memory where there is a GPU, and workers that stay between epochs.
    """

    def __init__(self, pair: Pair, workers: int, tuned: bool = False) -> None:
        self.loader: DataLoader[Any] = DataLoader(
            PilImages(pair.part),
            batch_size=pair.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            pin_memory=tuned and pair.device.type == "cuda",
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCH if workers else None,
        )
        self.ahead = workers * PREFETCH
        self._iterator: Any = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            self._iterator = iter(self.loader)
            yield from self._iterator

    def workers(self) -> list[int]:
        """Process numbers of the workers."""
        return [worker.pid for worker in getattr(self._iterator, "_workers", [])]

    def close(self) -> None:
        """Ends the workers."""
        if self._iterator is not None and hasattr(self._iterator, "_shutdown_workers"):
            self._iterator._shutdown_workers()


class Meter:
    """Running mean, and the last value."""

    def __init__(self) -> None:
        self.value = self.total = self.count = 0.0

    def update(self, value: float, count: int) -> None:
        """Adds a mean over ``count`` samples."""
        self.value, self.total, self.count = value, self.total + value * count, self.count + count


class ReferenceLoop:
    """One step of it, on a batch that is on the host or on the device already."""

    def __init__(self, pair: Pair, rate: float = numbers.RATE) -> None:
        self.pair = pair
        self.student = pair.new_student().to(pair.device).train()
        self.teacher = pair.new_teacher().to(pair.device)
        self.optimizer = torch.optim.SGD(
            self.student.parameters(), lr=rate, momentum=numbers.MOMENTUM, weight_decay=numbers.DECAY
        )
        self.meters = {name: Meter() for name in ("loss", "top1", "top5")}
        self.line = ""

    def loss(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and the student's logits."""
        logits: Tensor = self.student(image).logits
        with torch.no_grad():
            target_logits: Tensor = self.teacher(image).logits
        temperature = numbers.TEMPERATURE
        own, softened = F.log_softmax(logits / temperature, 1), F.softmax(target_logits / temperature, 1)
        soft = F.kl_div(own, softened, reduction="none").sum(1).mean() * temperature**2
        return numbers.CE_WEIGHT * F.cross_entropy(logits, target) + numbers.KD_WEIGHT * soft, logits

    def step(self, image: Tensor, target: Tensor) -> float:
        """One optimiser step; returns the loss."""
        image = image.to(self.pair.device, non_blocking=True)
        target = target.to(self.pair.device, non_blocking=True)
        self.optimizer.zero_grad()
        loss, logits = self.loss(image, target)
        loss.backward()
        self.optimizer.step()
        count = len(target)
        top1, top5 = accuracies(logits, target)
        self.meters["loss"].update(float(loss.cpu().detach().numpy().mean()), count)
        self.meters["top1"].update(float(top1), count)
        self.meters["top5"].update(float(top5), count)
        self.line = " | ".join(f"{name}:{meter.total / meter.count:.4f}" for name, meter in self.meters.items())
        return self.meters["loss"].value


@torch.no_grad()
def accuracies(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Top-1 and top-5 accuracy in percent."""
    most = min(5, logits.shape[1])
    right = logits.topk(most, 1).indices.t().eq(target.view(1, -1).expand(most, -1))
    return tuple(right[:k].reshape(-1).float().sum(0) * (100.0 / len(target)) for k in (1, most))  # type: ignore[return-value]


def reference_arm(name: str, pair: Pair, workers: int, tuned: bool = False) -> Arm:
    """The loop with its own data path."""
    loop, batches = ReferenceLoop(pair), PilBatches(pair, workers, tuned)
    stream = iter(batches)
    return Arm(
        name,
        lambda: loop.step(*next(stream)),
        pair.batch_size,
        take=lambda: next(stream),
        ahead=batches.ahead,
        workers=batches.workers,
        close=batches.close,
    )


def step_only_arm(name: str, pair: Pair) -> Arm:
    """The loop on batches that lie on the device already: what its data path costs is left out."""
    loop, stream = ReferenceLoop(pair), iter(PilBatches(pair, 0))
    ready = [tuple(tensor.to(pair.device) for tensor in next(stream)) for _ in range(4)]
    position = iter(range(1 << 62))
    return Arm(name, lambda: loop.step(*ready[next(position) % len(ready)]), pair.batch_size)


def pil_arm(name: str, pair: Pair, workers: int) -> Arm:
    """Its data path alone."""
    batches = PilBatches(pair, workers)
    stream = iter(batches)
    take = lambda: next(stream)  # noqa: E731
    return Arm(
        name, take, pair.batch_size, take=take, ahead=batches.ahead, workers=batches.workers, close=batches.close
    )
