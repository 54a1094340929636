"""Distillation losses as pure functions of tensors, one idea a file.

All are computed in log space and in float32, whatever the precision of their inputs; float64 stays float64, so that
`torch.autograd.gradcheck` can look at them. Divergences are a mean over the batch
and a sum over classes, times T²; each docstring says whether the value changes when the batch is repeated.
"""

import warnings
from typing import TYPE_CHECKING, Any

from kdengine.losses.at import attention_map, attention_transfer
from kdengine.losses.class_alignment import class_alignment, class_correlation
from kdengine.losses.crd import log_densities, log_normaliser, noise_contrastive
from kdengine.losses.dist import dist, inter_class, intra_class
from kdengine.losses.divergences import divergences, kd_of_some
from kdengine.losses.dkd import dkd
from kdengine.losses.fitnet import hint
from kdengine.losses.kd import kd
from kdengine.losses.multi_level import (
    batch_level,
    class_level,
    class_relations,
    instance_level,
    least_sure,
    sample_relations,
)
from kdengine.losses.precision import full
from kdengine.losses.relations import in_groups
from kdengine.losses.review_kd import hierarchical_context
from kdengine.losses.rkd import rkd_angle, rkd_distance
from kdengine.losses.sp import similarities, similarity_preserving
from kdengine.losses.standardized import kd_standardized, standardize
from kdengine.losses.tf_kd import virtual_teacher, virtual_teaching

__all__ = [
    "attention_map",
    "attention_transfer",
    "batch_level",
    "class_alignment",
    "class_correlation",
    "class_level",
    "class_relations",
    "dist",
    "divergences",
    "dkd",
    "full",
    "hierarchical_context",
    "hint",
    "in_groups",
    "instance_level",
    "inter_class",
    "intra_class",
    "kd",
    "kd_of_some",
    "kd_standardized",
    "least_sure",
    "log_densities",
    "log_normaliser",
    "noise_contrastive",
    "rkd_angle",
    "rkd_distance",
    "sample_relations",
    "similarities",
    "similarity_preserving",
    "standardize",
    "virtual_teacher",
    "virtual_teaching",
]

RENAMED = {"kd_standardised": "kd_standardized", "standardise": "standardize"}
"""Old names, which work until 0.3."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in RENAMED:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        message = f"{__name__}.{name} is now called {RENAMED[name]}; write that, the old name works until kdengine 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return globals()[RENAMED[name]]
