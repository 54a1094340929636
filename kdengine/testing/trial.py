"""A method with a small student, a small teacher and a batch: the same nets and images every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.methods import Backbone, Context, Method, Outputs, Term, get_method
from kdengine.training.teacher import FrozenTeacher

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class TinyNet(Backbone):
    """Three 3x3 convolutions with batch normalisation, the later two with stride 2; three stages."""

    def __init__(
        self,
        classes: int = 5,
        image_size: int = 16,
        channels: tuple[int, int, int] = (6, 8, 10),
        dropout: float = 0.0,
    ) -> None:
        layers = []
        for index, (before, after) in enumerate(zip((3, *channels), channels, strict=False)):
            stride = 1 if index == 0 else 2
            parts = [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers.append(nn.Sequential(*parts, *([nn.Dropout(dropout)] if dropout else [])))
        body = nn.ModuleDict({"layers": nn.ModuleList(layers), "fc": nn.Linear(channels[-1], classes)})
        super().__init__(body, "tiny", image_size)

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer."""
        found: nn.Linear = self.body["fc"]  # type: ignore[index]
        return found

    def forward(self, x: Tensor) -> Outputs:
        """Images (B, 3, H, W) -> Outputs."""
        stages = []
        for layer in self.body["layers"]:  # type: ignore[index]
            x = layer(x)
            stages.append(x)
        embedding = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return Outputs(self.classifier(embedding), embedding, tuple(stages))


@dataclass(frozen=True)
class TrialBatch:
    """What a method may read of a batch: views (B, 3, H, W), target (B,) and index (B,)."""

    views: tuple[Tensor, ...]
    target: Tensor
    index: Tensor

    @property
    def image(self) -> Tensor:
        """The first view."""
        return self.views[0]


@dataclass
class Trial:
    """A method with student, frozen teacher (where it needs one) and a batch to try it on."""

    method: Method
    student: Backbone
    teacher_net: Backbone | None
    teacher: FrozenTeacher | None
    batch: TrialBatch
    clock: Tensor

    def terms(self, student: Any = None, teacher: Any = None) -> dict[str, Term]:
        """The loss terms of the batch; with another student or teacher where one is given."""
        batch = self.method.prepare(self.batch)
        found: dict[str, Term] = self.method(batch, student or self.student, teacher or self.teacher, self.clock)
        return found

    def parameters(self) -> list[nn.Parameter]:
        """All that the main optimiser trains: of the student, and of the method's own parts."""
        own = [parameter for group in self.method.param_groups() for parameter in group["params"]]
        return [*self.student.parameters(), *own]


def total(terms: dict[str, Term]) -> Tensor:
    """The loss: the sum of all weighted terms."""
    return torch.stack([term.weighted.float() for term in terms.values()]).sum()


def trial_of(
    name: str,
    *,
    classes: int = 5,
    image_size: int = 16,
    batch_size: int = 10,
    samples: int = 100,
    student: Backbone | None = None,
    teacher: Backbone | None = None,
    epochs: int = 10,
    label_smoothing: float = 0.0,
    device: torch.device | str = "cpu",
    **params: Any,
) -> Trial:
    """The method of that name on small nets.

    Args:
        name: of a registered method.
        classes, image_size, batch_size: of the batch.
        samples: images of the training part.
        student, teacher: other nets than `TinyNet`.
        epochs, label_smoothing: of the recipe.
        device: where all of it lies; what is drawn is the same everywhere.
        params: settings of the method.

    Raises:
        UnknownName: no such method.
        BadInput: the method refuses these nets or settings.
    """
    torch.manual_seed(0)
    device = torch.device(device)
    cls = get_method(name)
    settings = cls.Params(**params)
    needs = cls.requires(settings)
    student = student or TinyNet(classes, image_size)
    if needs.teacher:
        teacher = teacher or TinyNet(classes, image_size, (7, 9, 12))
        frozen = FrozenTeacher(
            teacher, mean=MEAN, std=STD, batch_mean=MEAN, batch_std=STD, device=device, channels_last=False
        )
    else:
        teacher, frozen = None, None
    shapes = teacher.shapes() if teacher is not None else None
    context = Context(classes, samples, student.shapes(), shapes, label_smoothing, epochs)
    method = cls.build(settings, context)
    if teacher is not None:
        method.copy_from_teacher(teacher)
    batch = _batch(batch_size, needs.views, classes, image_size, device)
    student.to(device).train()
    method.to(device).train()
    return Trial(method, student, teacher, frozen, batch, torch.tensor(3.0).to(device))


def _batch(size: int, views: int, classes: int, image_size: int, device: torch.device) -> TrialBatch:
    """Random images whose brightness is their class."""
    target, index = torch.arange(size) % classes, torch.arange(size)
    images = [torch.randn(size, 3, image_size, image_size) + target.view(-1, 1, 1, 1) for _ in range(views)]
    return TrialBatch(tuple(view.to(device) for view in images), target.to(device), index.to(device))
