"""The student alone: the baseline that every method must beat under the same recipe."""

from __future__ import annotations

from torch import Tensor

from kdengine.fields import NoSettings
from kdengine.methods.base import BatchLike, Method, Needs, Network, Term, register


@register
class Alone(Method):
    """Cross-entropy with the labels, nothing else."""

    name = "none"
    title = "Student alone"
    description = "Trains the student on the labels only: the baseline that a method must beat."
    family = "baseline"
    mixes = True

    @classmethod
    def requires(cls, params: NoSettings) -> Needs:
        """Nothing."""
        return Needs(batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``."""
        return {"ce": Term(self.cross_entropy(student(batch.image).logits, batch.target), 1.0)}
