"""Methods with a frozen teacher: what all of them would otherwise repeat."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from kdengine.errors import BadInput, Problem
from kdengine.methods.base import BatchLike, Context, Method, Needs, Network, Term
from kdengine.models.backbone import Outputs, Shapes


class TaughtMethod(Method):
    """Base of methods with a frozen teacher. A subclass says what it reads and implements `loss_terms`.

    Both networks see the first view of each image. A method that shows them other images (several views, blends)
    implements `forward` instead.
    """

    teacher_outputs: ClassVar[tuple[str, ...]] = ("logits",)
    """What `loss_terms` reads of the teacher: of "logits", "embedding", "stages", "classifier"."""

    student_outputs: ClassVar[tuple[str, ...]] = ("logits",)
    """What it reads of the student."""

    batch_relations: ClassVar[str] = Needs.batch_relations
    """What ties the images of a batch together, see `Needs`; "" where nothing does."""

    teacher_shapes: Shapes

    def __init__(self, params: Any, context: Context) -> None:
        super().__init__(params, context)
        if context.teacher is None:
            raise BadInput(Problem("teacher", f"{self.name} learns from a teacher; found none, choose one"))
        self.teacher_shapes = context.teacher

    @classmethod
    def requires(cls, params: Any) -> Needs:
        """What the class attributes say; where a setting decides, a subclass overrides this."""
        return Needs(cls.teacher_outputs, cls.student_outputs, batch_relations=cls.batch_relations)

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Lets both networks see the images, the teacher first, and returns `loss_terms`."""
        assert teacher is not None
        teacher_outputs = teacher(batch.image)
        return self.loss_terms(student(batch.image), teacher_outputs, batch, clock)

    def loss_terms(self, student: Outputs, teacher: Outputs, batch: BatchLike, clock: Tensor) -> dict[str, Term]:
        """The loss terms of one batch.

        Args:
            student: its outputs for the images, with gradients.
            teacher: its outputs, without.
            batch: views (each (B, 3, H, W)), target (B,), index (B,).
            clock: epochs so far, with fraction; a scalar tensor on the device.
        """
        raise NotImplementedError
