"""What is trained: student and method as one module, and the best epoch so far."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from kdengine.evaluation.accuracy import Evaluation
from kdengine.methods.base import BatchLike, Method, Network, Term
from kdengine.models.backbone import Backbone


class TrainingModule(nn.Module):
    """Student and method together: the one module that is compiled, wrapped and saved."""

    def __init__(self, student: Backbone, method: Method) -> None:
        super().__init__()
        self.student = student
        self.method = method

    def forward(self, batch: BatchLike, teacher: Network | None, clock: Tensor) -> dict[str, Term]:
        """The method's loss terms for one batch."""
        found: dict[str, Term] = self.method(batch, self.student, teacher, clock)
        return found


@dataclass
class Best:
    """The best epoch by validation: highest accuracy, among equals lowest loss. Epochs count from 1, 0 = none yet.

    Equal accuracies are common: a validation part of 143 images has steps of 0.7 points.
    """

    accuracy: float = -1.0
    loss: float = 0.0
    epoch: int = 0

    def beaten_by(self, other: Evaluation) -> bool:
        """Whether another evaluation is better."""
        return (other.accuracy, -other.loss) > (self.accuracy, -self.loss)
