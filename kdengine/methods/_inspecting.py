"""Arrays that several methods show."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from kdengine.losses import attention_map
from kdengine.methods._stages import StagePair
from kdengine.methods.base import InspectedArray


def attention_array(feature: Tensor) -> InspectedArray:
    """Where a map (B, C, H, W) is strong: its attention map (B, H, W)."""
    return InspectedArray(attention_map(feature).view(len(feature), *feature.shape[2:]), "map")


def paired_attention(pairs: Iterable[StagePair], maps: Iterable[tuple[Tensor, Tensor]]) -> dict[str, InspectedArray]:
    """``student_<side>`` and ``teacher_<side>``: attention maps (B, H, W) of each pair's two maps."""
    return {
        f"{role}_{pair.side}": attention_array(feature)
        for pair, both in zip(pairs, maps, strict=True)
        for role, feature in zip(("student", "teacher"), both, strict=True)
    }
