"""The student alone: the baseline that every method must beat under the same recipe."""

from __future__ import annotations

from torch import Tensor

from kdengine.methods.base import BatchLike, Method, Needs, Network, Term, register
from kdengine.spec.fields import NoSettings


@register
class Alone(Method):
    """Cross-entropy with the labels, nothing else."""

    name = "none"
    title = "Student alone"
    description = "Trains the student on the labels only: the baseline that a method must beat."
    when = "As the baseline of every comparison."
    family = "baseline"
    mixes = True

    @classmethod
    def requires(cls, params: NoSettings) -> Needs:
        """Nothing."""
        return Needs(batch_relations="")

    def forward(self, batch: BatchLike, student: Network, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """Returns ``ce``."""
        return {"ce": Term(self.cross_entropy(student(batch.image).logits, batch.target), 1.0)}
