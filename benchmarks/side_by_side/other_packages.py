"""The arms of benchmarks/speed.py that are other people's packages: torchdistill's box and timm's task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kdengine.bench import Arm, Pair
from kdengine.bench import pair as numbers
from kdengine.bench.engine import Switches, endless, loader
from kdengine.bench.reference import PilImages
from kdengine.models import Backbone


class Logits(nn.Module):
    """A catalog net that gives its logits alone, as other packages expect."""

    # timm's task asks for these; the teacher is given the same, so that it does not normalise again.
    pretrained_cfg = {"mean": numbers.MEAN, "std": numbers.STD}  # noqa: RUF012

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = classes
        self.in_chans = 3

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C)."""
        return self.backbone(x).logits  # type: ignore[no-any-return]


def torchdistill_arm(pair: Pair, workers: int) -> Arm:
    """torchdistill's own DistillationBox with its own loader configuration, its teacher put into eval mode."""
    from torchdistill.core.distillation import DistillationBox

    loss = {
        "key": "KDLoss",
        "kwargs": {
            "student_module_path": ".", "student_module_io": "output", "teacher_module_path": ".",
            "teacher_module_io": "output", "temperature": numbers.TEMPERATURE, "alpha": numbers.CE_WEIGHT,
            "reduction": "batchmean",
        },
    }  # fmt: skip
    config = {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "images",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler},
            "kwargs": {"batch_size": pair.batch_size, "num_workers": workers, "drop_last": True,
                       "persistent_workers": workers > 0, "pin_memory": pair.device.type == "cuda"},
        },
        "teacher": {"requires_grad": False, "forward_proc": "forward_batch_only"},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {"key": "SGD", "kwargs": {"lr": numbers.RATE, "momentum": numbers.MOMENTUM,
                                               "weight_decay": numbers.DECAY}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}}},
    }  # fmt: skip
    nets = (Logits(net, pair.classes).to(pair.device) for net in (pair.new_teacher(), pair.new_student()))
    box = DistillationBox(*nets, {"images": PilImages(pair.part)}, config, pair.device, None, False, 1.0)
    box.teacher_model.eval()
    box.student_model.train()
    kept: list[Any] = []

    def batches() -> Iterator[Any]:
        while True:
            kept[:] = [iter(box.train_data_loader)]
            yield from kept[0]

    stream = batches()

    def step() -> None:
        # As torchdistill's own training script does.
        images, target, extra = next(stream)
        images, target = images.to(pair.device), target.to(pair.device)
        value = box.forward_process(images, target, extra)
        box.post_forward_process(loss=value)
        assert not torch.isnan(value) and not torch.isinf(value)
        value.item()

    return Arm(
        "torchdistill", step, pair.batch_size, take=lambda: next(stream), ahead=2 * workers,
        workers=lambda: [worker.pid for worker in getattr(kept[0], "_workers", [])] if kept else [],
        close=lambda: kept[0]._shutdown_workers() if kept and workers else None,
    )  # fmt: skip


def timm_arm(name: str, pair: Pair, compile: bool) -> Arm:
    """timm's LogitDistillationTask; its images come from our gather, so that its step alone is compared."""
    from timm.task import LogitDistillationTask

    student = Logits(pair.new_student(), pair.classes).to(pair.device)
    teacher = Logits(pair.new_teacher(), pair.classes).to(pair.device)
    task = LogitDistillationTask(
        student, teacher, criterion=nn.CrossEntropyLoss(), temperature=numbers.TEMPERATURE,
        task_loss_weight=numbers.CE_WEIGHT, distill_loss_weight=numbers.KD_WEIGHT, device=pair.device, verbose=False,
    )  # fmt: skip
    task.train()
    optimizer = torch.optim.SGD(
        student.parameters(), lr=numbers.RATE, momentum=numbers.MOMENTUM, weight_decay=numbers.DECAY
    )
    if compile:
        task.compile()
    stream = endless(loader(pair, Switches(channels_last=False)))

    def step() -> None:
        batch = next(stream)
        optimizer.zero_grad()
        result = task(batch.image, batch.target)
        result["loss"].backward()
        optimizer.step()

    return Arm(name, step, pair.batch_size)
