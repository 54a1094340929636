"""The modules of the papers: importance pooling, blur pooling, and light attentions. Maps (B, C, H, W) in and out."""

from kdengine.models.blocks.blur_pool import BlurPool
from kdengine.models.blocks.cbam import CBAM
from kdengine.models.blocks.coordinate_attention import CoordinateAttention
from kdengine.models.blocks.eca import ECA
from kdengine.models.blocks.local_importance import CoordinateImportancePool, local_importance_pool
from kdengine.models.blocks.simam import SimAM
from kdengine.models.blocks.spatial_group_enhance import SpatialGroupEnhance

__all__ = [
    "CBAM",
    "ECA",
    "BlurPool",
    "CoordinateAttention",
    "CoordinateImportancePool",
    "SimAM",
    "SpatialGroupEnhance",
    "local_importance_pool",
]
