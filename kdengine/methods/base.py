"""What a method is: a module with its parameters, its needs, its own parts and its named loss terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.losses.precision import full
from kdengine.methods import _renamed
from kdengine.models.backbone import Backbone, Outputs, Shapes
from kdengine.registry import METHODS
from kdengine.spec.fields import NoSettings, Settings

Network = Callable[[Tensor], Outputs]
"""Student or teacher as a method sees it: images (B, 3, H, W) -> Outputs."""


class Term(NamedTuple):
    """One named part of the loss: a scalar, and the weight it enters the sum with (a number or a scalar tensor)."""

    raw: Tensor
    weight: float | Tensor

    @property
    def weighted(self) -> Tensor:
        """raw x weight."""
        return self.raw * self.weight

    def detached(self) -> Term:
        """The same numbers without gradients."""
        return Term(self.raw.detach(), self.weight.detach() if isinstance(self.weight, Tensor) else self.weight)


class BatchLike(Protocol):
    """What a method may read of a batch; the data path provides it."""

    @property
    def views(self) -> tuple[Tensor, ...]:
        """Augmented views of the images, each (B, 3, H, W) float32."""
        ...

    @property
    def target(self) -> Tensor:
        """Class indices (B,), int64; for a method that ``mixes``, under mixup or cutmix, shares (B, C) of 0..1."""
        ...

    @property
    def index(self) -> Tensor:
        """Number of each sample within the training part (B,), int64."""
        ...

    @property
    def image(self) -> Tensor:
        """The first view, (B, 3, H, W) float32."""
        ...


@dataclass(frozen=True)
class StepContext:
    """Where in the run a step stands, for `Method.before_step`.

    Attributes:
        step: optimiser steps done so far, over all epochs.
        rate: learning rate of the step that follows.
    """

    step: int
    rate: float


@dataclass(frozen=True)
class Needs:
    """What a method asks of the rest of the engine.

    Attributes:
        teacher: outputs of the teacher it reads: any of "logits", "embedding", "stages", "classifier"; () = no teacher.
        student: outputs of the student it reads.
        views: augmented views of each image in a batch.
        sampler: "uniform", "class-balanced", "same-class-pairs" or "overlapping".
        meta: share of the training images held out of them for meta batches; 0 = none.
        meta_from_train: whether meta batches are other batches of the training images, nothing held out.
        batch_relations: what ties the images of a batch together, in words that follow the method's name ("compares
            every two images of a batch"); "" = nothing does: each term that has a weight is a mean over images of what
            each gives by itself, what is remembered is remembered image by image, and `forward` draws no random
            numbers. Then, and only then, a batch may be computed in parts (``recipe.accumulate``); images that
            "same-class-pairs" pairs stay in one part. A method that says nothing is not computed in parts.
    """

    teacher: tuple[str, ...] = ()
    student: tuple[str, ...] = ("logits",)
    views: int = 1
    sampler: str = "uniform"
    meta: float = 0.0
    meta_from_train: bool = False
    batch_relations: str = "does not say whether it relates the images of a batch to each other"


@dataclass(frozen=True)
class Context:
    """What a method is built for.

    Attributes:
        classes: number of classes.
        samples: number of training images.
        student: shapes of the student's outputs.
        teacher: shapes of the teacher's outputs, None without a teacher.
        label_smoothing: of the recipe, for the cross-entropy with the labels.
        epochs: length of the run, for what rises or falls over it.
    """

    classes: int
    samples: int
    student: Shapes
    teacher: Shapes | None = None
    label_smoothing: float = 0.0
    epochs: int = 1


Kind = Literal["map", "graph", "nodes", "classes", "vector", "scalar"]


class InspectedArray(NamedTuple):
    """An array to look at, of B images.

    Attributes:
        values: the numbers.
        kind: what they are: "map" (B, H, W); "graph" (B, B), how much each image goes with each other; "nodes"
            (B, D); "classes" (C, C); "vector", one number (B,) or several (B, K) of each image; "scalar".
    """

    values: Tensor
    kind: Kind


class Exit(NamedTuple):
    """A head that predicts by itself.

    Attributes:
        name: how it is called in tables.
        logits: the student's outputs -> logits (B, C).
        stage: the one stage map it reads, as an index; None when it needs more than that, hence the whole network.
        parts: modules of the head, for what it costs.
    """

    name: str
    logits: Callable[[Outputs], Tensor]
    stage: int | None = None
    parts: tuple[nn.Module, ...] = ()


class Method(nn.Module):
    """Base of all methods. A subclass sets the class attributes and implements `forward`.

    The loop compiles and wraps student and method together and knows no method by name. All that a method remembers
    must be in its ``state_dict`` (buffers or ``get_extra_state``), so that a resumed run continues bit for bit.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    when: ClassVar[str] = ""
    """A line on when it is the method to take, what it asks for and where it fits. No promise of accuracy."""

    paper: ClassVar[str] = ""
    family: ClassVar[str] = ""
    Params: ClassVar[type[Settings]] = NoSettings
    deploy_extra: ClassVar[tuple[str, ...]] = ()
    captions: ClassVar[dict[str, str]] = {}
    """What the arrays of `inspect` show, in a few words each, by name without ``_<n>``."""

    mixes: ClassVar[bool] = False
    """Whether targets enter `cross_entropy` alone, so that mixup and cutmix of the recipe make sense."""

    def __init__(self, params: Any, context: Context) -> None:
        super().__init__()
        self.params = params
        self.context = context

    @classmethod
    def requires(cls, params: Any) -> Needs:
        """What the method needs with these parameters."""
        return Needs()

    @classmethod
    def build(cls, params: Any, context: Context) -> Method:
        """The method for these shapes; raises BadInput in words where it cannot work."""
        return cls(params, context)

    def copy_from_teacher(self, teacher: Backbone) -> None:
        """Called once with the plain teacher, before training or resuming: to copy what the method keeps of it.

        What is copied belongs into the method's state. Weights may be read, not changed; random numbers not drawn.
        Raises BadInput in words where this teacher cannot serve.
        """

    def meet_teacher(self, teacher: Backbone) -> None:
        """Old name of `copy_from_teacher`.

        .. deprecated:: 0.2
        """
        _renamed.warn("Method.meet_teacher", "called copy_from_teacher")
        _renamed.call_new_hook(self, "copy_from_teacher", teacher)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _renamed.take_old_hook(cls, "meet_teacher", "copy_from_teacher")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """The loss terms of one batch.

        Args:
            batch: views (each (B, 3, H, W)), target (B,), index (B,).
            student: images -> Outputs, with gradients.
            teacher: images -> Outputs, without; None for methods that need none.
            clock: epochs so far, with fraction; a scalar tensor on the device.
        """
        raise NotImplementedError

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy with the labels, (B,) or mixed (B, C), under the recipe's label smoothing.

        A mean over the batch, in at least float32.
        """
        return F.cross_entropy(full(logits), target, label_smoothing=self.context.label_smoothing)

    def prepare(self, batch: Any) -> Any:
        """Changes a batch before it is used (mixing); here nothing."""
        return batch

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the method's own parts that the main optimiser trains; [] when there are none."""
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [{"params": parameters}] if parameters else []

    def pretrain(self, batches: Callable[[int], Iterable[BatchLike]], teacher: Network | None) -> Iterator[None]:
        """A first stage of the method's own, before the first epoch; here none.

        Yields after each of its steps, so that the loop can end it. Killed within, it starts over with the same random
        numbers; once it has ended, what it made is in the checkpoint.

        Args:
            batches: epoch (0, 1, ...) -> the training batches of that epoch.
            teacher: images -> Outputs, without gradients.
        """
        yield from ()

    def before_step(
        self,
        batch: BatchLike,
        meta: Callable[[], BatchLike] | None,
        student: Backbone,
        teacher: Network | None,
        step_context: StepContext,
    ) -> None:
        """Called before each optimiser step, outside autocast: a bi-level update; here nothing.

        It must leave student, running statistics and gradients as they are.

        Args:
            batch: the batch of the step that follows.
            meta: gives a batch of the images held out for it, or of others to train on; None when it needs none.
            student: plain, uncompiled and unwrapped.
            teacher: images -> Outputs, without gradients.
            step_context: where in the run this is.
        """

    def on_epoch_end(self, epoch: int) -> None:
        """Called after each epoch, before the checkpoint."""

    def exits(self) -> list[Exit]:
        """Heads of self-distillation, shallow to deep, without the deployed one; [] for most methods."""
        return []

    def deployable(self, student: Backbone) -> Backbone:
        """What is evaluated, selected, stored and shipped; here the plain student.

        A method that ships more names the added parts in ``deploy_extra`` and returns a net that *shares* its modules
        with the student and itself, of a kind that `kdengine.models.stored` can rebuild. The recipe's EMA averages all
        of it.
        """
        return student

    @torch.no_grad()
    def inspect(self, student: Outputs, teacher: Outputs | None) -> dict[str, InspectedArray]:
        """Named arrays that show the method at work; {} when there is nothing of its own to see.

        A name that ends in ``_<n>`` belongs to stage or exit n. What an array shows is said by ``captions``.
        """
        return {}

    @classmethod
    def is_inspected(cls) -> bool:
        """Whether the method has arrays of its own to show."""
        return cls.inspect is not Method.inspect

    @classmethod
    def capturable(cls, params: Any) -> bool:
        """Whether a step may be captured in a CUDA graph."""
        return True


def list_methods(pattern: str = "*") -> list[str]:
    """Names of all methods that match a shell pattern."""
    return METHODS.names(pattern)


def get_method(name: str) -> type[Method]:
    """The class of a method; raises UnknownName with near matches."""
    found: type[Method] = METHODS.get(name)
    return found


def register(method: type[Method]) -> type[Method]:
    """Class decorator: files a method under its ``name``."""
    METHODS.register(method.name)(method)
    return method


if not TYPE_CHECKING:

    def _from_stages(name: str) -> Any:
        from kdengine.methods import _stages

        return getattr(_stages, name)

    __getattr__ = _renamed.old_names(
        __name__,
        {
            "Moment": ("kdengine.methods.StepContext", lambda: StepContext),
            "StagePair": ("kdengine.methods.StagePair", lambda: _from_stages("StagePair")),
            "pair_stages": ("kdengine.methods.pair_stages", lambda: _from_stages("pair_stages")),
        },
    )
