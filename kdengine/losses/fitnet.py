"""Hints: a map of the student, brought to the shape of a teacher's map, is to equal it.

Romero, Ballas, Kahou, Chassang, Gatta, Bengio: FitNets: Hints for Thin Deep Nets. ICLR 2015, arXiv 1412.6550,
equation 3. Public code: RepDistiller, distiller_zoo/FitNet.py; megvii-research/mdistiller, distillers/FitNet.py.
Deviations: a mean over all numbers, as in the public codes, where the paper has half the squared norm.
"""

from __future__ import annotations

from torch import Tensor

from kdengine.losses.precision import full


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference over batch, channels and places.

    Args:
        student: (B, C, H, W), or any other shape.
        teacher: the same shape.

    Returns:
        Scalar >= 0, float32; unchanged when the batch is repeated. It grows with the square of the teacher's scale.
    """
    return (full(student) - full(teacher)).square().mean()
