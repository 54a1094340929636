"""Distillation losses as pure functions of tensors, one idea a file.

All are computed in float32 and log space, whatever the precision of their inputs. Divergences are a mean over the batch
and a sum over classes, times T²; each docstring says whether the value changes when the batch is repeated.
"""

from kdengine.losses.at import attention_map, attention_transfer
from kdengine.losses.dkd import dkd
from kdengine.losses.kd import kd

__all__ = ["attention_map", "attention_transfer", "dkd", "kd"]
