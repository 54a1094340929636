"""Mixup and CutMix of a batch, as torchvision has them; numbers are drawn from the global generator, which resumes."""

from __future__ import annotations

from collections.abc import Callable

from kdengine.data.batches.loader import Batch
from kdengine.methods.base import BatchLike
from kdengine.spec import RecipeSpec

Mixer = Callable[[BatchLike], BatchLike]


def make_mixer(recipe: RecipeSpec, classes: int) -> Mixer:
    """What the recipe does to each training batch; with both, one of them by chance for each batch.

    The images become blends of two, and ``target`` their shares of the classes, (B, C) of 0..1.

    Zhang, Cisse, Dauphin, Lopez-Paz: mixup, ICLR 2018. Yun, Han, Oh, Chun, Choe, Yoo: CutMix, ICCV 2019.
    """
    if not recipe.mixup and not recipe.cutmix:
        return lambda batch: batch
    from torchvision.transforms import v2

    kinds = [
        kind(alpha=alpha, num_classes=classes)
        for kind, alpha in ((v2.MixUp, recipe.mixup), (v2.CutMix, recipe.cutmix))
        if alpha
    ]
    blend = v2.RandomChoice(kinds)

    def mix(batch: BatchLike) -> BatchLike:
        image, shares = blend(batch.image, batch.target)
        return Batch((image, *batch.views[1:]), shares, batch.index)

    return mix
