"""How two representations compare, and a plane to see one on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdengine.inspection.subject import Arrays, Subject, on_host

MAX_FOR_CKA = 64
"""Images that the stages are compared on: their maps must fit in memory all at once."""


def stage_likeness(subject: Subject) -> Arrays:
    """Linear CKA of every two stages: ``student_student`` and, with a teacher, ``student_teacher``, (S, S') in 0..1.

    Rows are the student's stages from shallow to deep, the embedding last; columns the other net's.
    """
    own = _grams(subject, "student")
    found = {"student_student": _table(own, own)}
    if subject.teacher is not None:
        found["student_teacher"] = _table(own, _grams(subject, "teacher"))
    return found


def cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment of two representations (N, D), (N, D') of the same images, 0..1.

    Kornblith, Norouzi, Lee, Hinton: Similarity of Neural Network Representations Revisited. ICML 2019, section 3. It is
    1 for equal ones and does not change under rotations and one scale for all; NaN where one is constant.
    """
    return _alignment(_gram(x), _gram(y))


def _grams(subject: Subject, who: str) -> list[Tensor]:
    outputs = subject.outputs[who]
    return [_gram(values[:MAX_FOR_CKA].flatten(1)) for values in (*outputs.stages, outputs.embedding)]


def _gram(values: Tensor) -> Tensor:
    """Inner products (N, N) of the centred rows; in double precision, but of maps as they are stored."""
    centred = values.float() - values.float().mean(0)
    return (centred @ centred.T).double().cpu()


def _alignment(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def _table(rows: list[Tensor], columns: list[Tensor]) -> np.ndarray:
    return np.asarray([[_alignment(a, b) for b in columns] for a in rows], np.float32)


def plane(subject: Subject) -> Arrays:
    """The embeddings on a plane: ``<who>`` (N, 2), principal components, and ``<who>_explained`` (2,), shares 0..1."""
    found: Arrays = {}
    for who, outputs in subject.outputs.items():
        points, explained = principal(outputs.embedding)
        found |= {who: on_host(points), f"{who}_explained": on_host(explained)}
    return found


def principal(vectors: Tensor, count: int = 2) -> tuple[Tensor, Tensor]:
    """Coordinates (N, count) on the first principal components of (N, D), and the shares (count,) of the variance.

    The sign of each component is such that its largest entry (by size) is positive.
    """
    centred = vectors.detach().double().cpu()
    centred = centred - centred.mean(0)
    left, values, right = torch.linalg.svd(centred, full_matrices=False)
    count_here = min(count, len(values))
    signs = right[:count_here].gather(1, right[:count_here].abs().argmax(1, keepdim=True)).sign().T
    points = torch.zeros(len(centred), count, dtype=torch.double)
    shares = torch.zeros(count, dtype=torch.double)
    points[:, :count_here] = left[:, :count_here] * values[:count_here] * signs
    shares[:count_here] = values[:count_here].square() / values.square().sum().clamp(min=1e-12)
    return points, shares


def neighbourhoods(subject: Subject) -> Arrays:
    """The embeddings on a plane by t-SNE: ``<who>`` (N, 2); begun with the principal components, the seed fixed."""
    from sklearn.manifold import TSNE

    found: Arrays = {}
    for who, outputs in subject.outputs.items():
        values = on_host(outputs.embedding)
        perplexity = max(2.0, min(30.0, (len(values) - 1) / 3))
        if len(values) > perplexity:
            made = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(values)
            found[who] = np.asarray(made, np.float32)
    return found
