"""Relations instead of values: the ranking of classes in each prediction, and of samples for each class.

Huang, You, Wang, Qian, Xu: Knowledge Distillation from A Stronger Teacher (DIST). NeurIPS 2022, arXiv 2205.10536.
Official code: hunto/image_classification_sota, lib/models/losses/dist_kd.py.
Deviations: none in value; the correlation is computed from unit vectors with a floor relative to the mean instead of an
absolute 1e-8, so that predictions without spread give finite gradients.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kdengine.losses.precision import full
from kdengine.losses.relations import pearson_distance


def inter_class(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """1 - mean over samples of the Pearson correlation of the two predictions across classes, x T².

    Args:
        student: logits (B, C), C >= 3: of two classes the correlation is 1 or -1 however sure the prediction is.
        teacher: logits (B, C).
        temperature: T > 0.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated.
    """
    return _distance(student, teacher, temperature, dim=1)


def intra_class(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """1 - mean over classes of the Pearson correlation of the class's probabilities across samples, x T².

    Args:
        student: logits (B, C). A batch of one has no spread and gives 0, a batch of two only signs.
        teacher: logits (B, C).
        temperature: T > 0.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated, but a relation over the batch, so the mean over two
        halves differs from the value of the whole.
    """
    return _distance(student, teacher, temperature, dim=0)


def dist(student: Tensor, teacher: Tensor, temperature: float, beta: float, gamma: float) -> Tensor:
    """``beta`` x `inter_class` + ``gamma`` x `intra_class`.

    Args:
        student: logits (B, C).
        teacher: logits (B, C).
        temperature: T > 0.
        beta: weight of the relation between classes.
        gamma: weight of the relation between samples.

    Returns:
        Scalar >= 0, float32; 0 when both predictions are equal.
    """
    between_classes = inter_class(student, teacher, temperature)
    return beta * between_classes + gamma * intra_class(student, teacher, temperature)


def _distance(student: Tensor, teacher: Tensor, temperature: float, dim: int) -> Tensor:
    of_student, of_teacher = (F.softmax(full(logits) / temperature, dim=1) for logits in (student, teacher))
    return pearson_distance(of_student, of_teacher, dim) * temperature**2
