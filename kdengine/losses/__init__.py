"""Distillation losses as pure functions of tensors, one idea a file.

All are computed in float32 and log space, whatever the precision of their inputs. Divergences are a mean over the batch
and a sum over classes, times T²; each docstring says whether the value changes when the batch is repeated.
"""

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
from kdengine.losses.review_kd import hierarchical_context
from kdengine.losses.rkd import rkd_angle, rkd_distance
from kdengine.losses.sp import similarities, similarity_preserving
from kdengine.losses.standardised import kd_standardised, standardise
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
    "hierarchical_context",
    "hint",
    "instance_level",
    "inter_class",
    "intra_class",
    "kd",
    "kd_of_some",
    "kd_standardised",
    "least_sure",
    "log_densities",
    "log_normaliser",
    "noise_contrastive",
    "rkd_angle",
    "rkd_distance",
    "sample_relations",
    "similarities",
    "similarity_preserving",
    "standardise",
    "virtual_teacher",
    "virtual_teaching",
]
