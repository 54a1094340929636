"""The field's training recipes by name. Each says where it comes from; any number can be changed in a spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_SGD: dict[str, Any] = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 5e-4,
    "schedule": "step",
    "milestones": (),
    "gamma": 0.1,
    "warmup_epochs": 0.0,
    "label_smoothing": 0.0,
    "ema": 0.0,
    "clip_norm": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "accumulate": 1,
}


@dataclass(frozen=True)
class Recipe:
    """A named set of training numbers.

    Attributes:
        summary: one line for lists and forms.
        source: where the numbers come from.
        settings: every field of `kdengine.spec.RecipeSpec` but the name.
        mobile_lr: learning rate for MobileNet and ShuffleNet students where the source gives another one.
    """

    summary: str
    source: str
    settings: dict[str, Any]
    mobile_lr: float | None = None

    def for_student(self, student: str) -> dict[str, Any]:
        """The settings for a student of that name."""
        mobile = any(family in student for family in ("mobilenet", "shufflenet"))
        return self.settings | ({"lr": self.mobile_lr} if mobile and self.mobile_lr else {})


RECIPES: dict[str, Recipe] = {
    "quick": Recipe(
        summary="A dozen epochs, cosine: a result in a minute on small data",
        source="our choice",
        settings=_SGD
        | {"epochs": 12, "batch_size": 64, "lr": 0.05, "schedule": "cosine", "warmup_epochs": 1.0, "nesterov": True},
    ),
    "crd240": Recipe(
        summary="240 epochs, batch 64, x0.1 at 150/180/210: the CIFAR-100 standard of distillation",
        source="RepDistiller and mdistiller, public configurations",
        settings=_SGD | {"epochs": 240, "batch_size": 64, "lr": 0.05, "milestones": (150, 180, 210)},
        mobile_lr=0.01,
    ),
    "byot200": Recipe(
        summary="200 epochs, batch 128, x0.1 at 75/130/180: self-distillation",
        source="pytorch-be-your-own-teacher and SCAN, public code",
        settings=_SGD | {"epochs": 200, "batch_size": 128, "lr": 0.1, "milestones": (75, 130, 180)},
    ),
    "frskd200": Recipe(
        summary="200 epochs, batch 128, weight decay 1e-4, x0.1 at 100/150: feature self-distillation",
        source="FRSKD, public code",
        settings=_SGD | {"epochs": 200, "batch_size": 128, "lr": 0.1, "weight_decay": 1e-4, "milestones": (100, 150)},
    ),
}
