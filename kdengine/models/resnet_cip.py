"""ResNets that shrink their maps by coordinate importance pooling and blur pooling instead of strided convolutions.

The teacher of Liu et al., Acta Electronica Sinica 2025, 53(3), DOI 10.12263/DZXB.20240754 (ResNet-34 there; only the
abstract is public). The placement is our choice, on which the public repositories sebgao/LIP and adobe/antialiased-cnns
agree: a convolution that strided keeps its size, and batch normalisation, ReLU and the pooling follow it; in the
shortcut blur pooling stands before the 1x1 convolution. At more than 64 px the max-pooling of the stem is replaced too.
The bodies are those of the plain nets, with weights under the same names, drawn first and thus equal for equal seeds;
``pool="strided", blur_shortcut=False`` is the plain net.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from kdengine.models.backbone import Backbone, ModelDefinition
from kdengine.models.blocks import BlurPool, CoordinateImportancePool
from kdengine.models.blocks.local_importance import LARGEST_SCALE
from kdengine.models.derived import plain_net
from kdengine.registry import MODELS
from kdengine.spec.fields import Settings, setting

SAFE_FILTER = 3
"""Up to this size a blur filter fits every map of the nets here, at their smallest image too."""


class CipParams(Settings):
    """How the maps shrink; each half can be switched off alone, to see what it brings."""

    pool: Literal["cip", "blur", "strided"] = setting(
        "cip",
        title="Pooling",
        description="Main branch: coordinate importance pooling, blur pooling, or the plain strided convolution.",
        source="the paper's abstract; the placement is our choice",
    )
    blur_shortcut: bool = setting(
        True,
        title="Blur the shortcut",
        description="Blur pooling before the 1x1 convolution of the shortcut, instead of its stride.",
        source="the paper's abstract; the placement is our choice",
    )
    mode: Literal["coord_local", "coord"] = setting(
        "coord_local",
        title="Importance",
        description="coord: row times column gate; coord_local: with a 3x3 convolution, which can mark single pixels.",
        source="our choice; the paper's full text is not public",
        advanced=True,
    )
    dense_logit: bool = setting(
        False,
        title="Dense importance",
        description="A dense 3x3 convolution for the importance, not a depthwise one: 3.1 M more weights in ResNet-34.",
        source="our choice",
        advanced=True,
    )
    scale: float = setting(
        12.0,
        title="Importance scale",
        description="Largest importance logit: near 0 the pooling averages, high values come close to max-pooling.",
        gt=0,
        le=LARGEST_SCALE,
        tune=(4.0, 20.0),
        source="sebgao/LIP",
        advanced=True,
    )
    filter_size: int = setting(
        3,
        title="Blur filter",
        description="Side of the blur filter; larger ones keep less detail.",
        ge=2,
        le=7,
        unit="px",
        source="our choice; adobe/antialiased-cnns takes 4",
        advanced=True,
    )


class NormThenPool(nn.BatchNorm2d):
    """Batch normalisation, ReLU, pooling: takes the place of the normalisation behind a convolution that strided.

    The ReLU of the block, which comes next, changes nothing: means of values from 0 up are from 0 up. So the block's
    own code and names stay. (B, C, H, W) -> (B, C, ceil(H/2), ceil(W/2)).
    """

    def __init__(self, norm: nn.BatchNorm2d, pool: nn.Module) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        self.pool = pool

    @override
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.pool(F.relu(super().forward(x)))
        return found


def _make(name: str, num_classes: int, image_size: int, params: CipParams) -> Backbone:
    backbone = plain_net(name, num_classes, image_size)
    for block in _strided_blocks(backbone.body):
        if params.pool != "strided":
            _pool_main_branch(block, params)
        if params.blur_shortcut:
            block.downsample = _blurred(block.downsample, params)  # type: ignore[arg-type]
    if isinstance(getattr(backbone.body, "maxpool", None), nn.MaxPool2d) and params.pool != "strided":
        backbone.body.maxpool = _stem_pool(backbone.body.conv1.out_channels, params)  # type: ignore[union-attr,arg-type]
    if params.filter_size > SAFE_FILTER:
        backbone.shapes()
    return backbone


def _strided_blocks(body: nn.Module) -> Iterator[nn.Module]:
    """The first block of each stage but the first: those that halve the map."""
    for name in ("layer2", "layer3", "layer4"):
        layer = getattr(body, name, None)
        if layer is not None:
            yield layer[0]


def _pool_main_branch(block: nn.Module, params: CipParams) -> None:
    """Moves the stride of the block's 3x3 convolution into a pooling after its normalisation and ReLU."""
    # torchvision's bottleneck strides in its second convolution, the basic blocks in their first.
    number = 2 if hasattr(block, "conv3") else 1
    conv: nn.Conv2d = getattr(block, f"conv{number}")
    conv.stride = (1, 1)
    setattr(block, f"bn{number}", NormThenPool(getattr(block, f"bn{number}"), _pool(conv.out_channels, params)))


def _blurred(shortcut: nn.Sequential, params: CipParams) -> nn.Sequential:
    """The shortcut with blur pooling before its 1x1 convolution, which keeps its name."""
    conv: nn.Conv2d = shortcut[0]  # type: ignore[assignment]
    conv.stride = (1, 1)
    blur = BlurPool(conv.in_channels, params.filter_size)
    return nn.Sequential(OrderedDict([("blur", blur), *shortcut.named_children()]))


def _stem_pool(channels: int, params: CipParams) -> nn.Module:
    """What takes the place of the stem's max-pooling; the blur form keeps a dense maximum before it, as Zhang does."""
    pool = _pool(channels, params)
    return nn.Sequential(nn.MaxPool2d(2, stride=1), pool) if params.pool == "blur" else pool


def _pool(channels: int, params: CipParams) -> nn.Module:
    if params.pool == "blur":
        return BlurPool(channels, params.filter_size)
    return CoordinateImportancePool(channels, params.mode, params.scale, params.dense_logit)


for _name, _summary in (
    ("resnet18_cip", "ResNet-18 with coordinate importance pooling and blurred shortcuts"),
    ("resnet34_cip", "ResNet-34 with coordinate importance pooling and blurred shortcuts, the teacher of DCAD"),
    ("resnet50_cip", "ResNet-50 with coordinate importance pooling and blurred shortcuts"),
    ("resnet20_cip", "CIFAR ResNet of depth 20 with coordinate importance pooling and blurred shortcuts"),
    ("resnet8x4_cip", "CIFAR ResNet of depth 8, 64-256 channels, with coordinate importance pooling"),
):
    MODELS.register(_name)(ModelDefinition(_name, _summary, partial(_make, _name), CipParams))
