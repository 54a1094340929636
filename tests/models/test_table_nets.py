"""The nets of the distillation tables: the maps they hand out, the libraries their weights load in, early cuts."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from kdengine.errors import BadInput
from kdengine.evaluation.early_exit import cut
from kdengine.models import build_model

# (channels, side) of each stage at 32 px. RepDistiller's maps of the same nets; the deepest of MobileNetV2 and of
# ShuffleNet V2 is the one behind the last 1x1 convolution, which is what is pooled.
STAGES_AT_32 = {
    "resnet32": [(16, 32), (32, 16), (64, 8)],
    "wrn_16_2": [(32, 32), (64, 16), (128, 8)],
    "wrn_40_2": [(32, 32), (64, 16), (128, 8)],
    "wrn_40_1": [(16, 32), (32, 16), (64, 8)],
    "vgg8": [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)],
    "vgg13": [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)],
    "vgg16": [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)],
    "mobilenet_v2": [(24, 32), (32, 16), (96, 8), (1280, 4)],
    "mobilenet_v2_half": [(12, 16), (16, 8), (48, 4), (1280, 2)],
    "shufflenet_v1": [(240, 16), (480, 8), (960, 4)],
    "shufflenet_v2": [(116, 16), (232, 8), (1024, 4)],
}
DEEPEST_AT_64 = {"wrn_16_2": 8, "vgg8": 4, "mobilenet_v2": 4, "mobilenet_v2_half": 4, "shufflenet_v1": 4}
DEEPEST_AT_224 = {"vgg8": 7, "vgg13": 7, "mobilenet_v2_half": 7, "shufflenet_v1": 7, "wrn_16_2": 28}
CUT_AT = {
    "wrn_16_2": 16,
    "vgg8": 16,
    "mobilenet_v2": 16,
    "mobilenet_v2_half": 32,
    "shufflenet_v1": 16,
    "shufflenet_v2": 16,
}


@pytest.mark.parametrize("name", STAGES_AT_32)
def test_maps_at_32_px(name: str) -> None:
    with torch.device("meta"):
        stages = build_model(name, 100, 32).shapes().stages
    assert [(channels, side) for channels, side, _ in stages] == STAGES_AT_32[name]


@pytest.mark.parametrize(("size", "wanted"), [(64, DEEPEST_AT_64), (224, DEEPEST_AT_224)])
def test_the_deepest_map_of_bigger_images(size: int, wanted: dict[str, int]) -> None:
    with torch.device("meta"):
        assert {name: build_model(name, 5, size).shapes().stages[-1][1] for name in wanted} == wanted


@pytest.mark.parametrize("name", STAGES_AT_32)
def test_what_is_pooled_is_the_deepest_map(name: str) -> None:
    outputs = build_model(name, 5, 16).eval()(torch.randn(2, 3, 16, 16))
    assert torch.allclose(outputs.embedding, F.adaptive_avg_pool2d(outputs.stages[-1], 1).flatten(1), atol=1e-6)
    assert outputs.stages[-1].min() >= 0, "after activation"


@pytest.mark.parametrize(
    ("name", "size", "theirs"),
    [
        ("vgg13", 32, "vgg13_bn"),
        ("vgg16", 224, "vgg16_bn"),
        ("mobilenet_v2", 32, "mobilenet_v2"),
        ("shufflenet_v2", 224, "shufflenet_v2_x1_0"),
    ],
)
def test_weights_have_the_names_of_torchvision(name: str, size: int, theirs: str) -> None:
    with torch.device("meta"):
        ours = build_model(name, 1000, size).body.state_dict()
        published = torchvision.models.get_model(theirs, weights=None).state_dict()
    if size == 224:
        assert {key: value.shape for key, value in ours.items()} == {k: v.shape for k, v in published.items()}
    body = {key: value.shape for key, value in ours.items() if not key.startswith("classifier")}
    assert body.items() <= {key: value.shape for key, value in published.items()}.items()


@pytest.mark.parametrize("name", CUT_AT)
def test_the_pieces_of_a_net_are_the_net(name: str) -> None:
    torch.manual_seed(0)
    net = build_model(name, 5, CUT_AT[name]).eval()
    state = torch.randn(3, 3, CUT_AT[name], CUT_AT[name])
    with torch.no_grad():
        whole = net(state)
        maps = range(len(whole.stages) - 1)
        pieces = cut(net, list(maps))
        for stage, piece in zip(maps, pieces, strict=False):
            state = piece(state)
            assert torch.equal(state, whole.stages[stage])
        assert torch.equal(pieces[-1](state[:2]), whole.logits[:2]), "of a smaller batch too"


def test_a_block_of_a_wide_net_is_the_pre_activation_block() -> None:
    block = build_model("wrn_16_2", 5, 16).eval().body.layer2[1]
    x = torch.randn(2, 64, 8, 8)
    nn.init.zeros_(block.conv2.weight)
    assert torch.equal(block(x), x), "nothing stands between a block's input and its shortcut"
    first = build_model("wrn_16_2", 5, 16).eval().body.layer1[0]
    nn.init.zeros_(first.conv2.weight)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(first(x), first.shortcut(first.bn1(x).relu())), "a wider block projects the activated input"


def test_a_unit_of_shufflenet_appends_its_averaged_input_or_adds_it() -> None:
    net = build_model("shufflenet_v1", 5, 16).eval().body
    x = torch.rand(2, 24, 8, 8)
    assert torch.equal(net.layer1[0](x)[:, 216:], F.avg_pool2d(x, 3, 2, 1))
    x = torch.rand(2, 240, 4, 4)
    nn.init.zeros_(net.layer1[1].bn3.weight)
    assert torch.equal(net.layer1[1](x), x)


def test_half_a_mobilenet_has_plain_relus_and_expands_everywhere() -> None:
    with torch.device("meta"):
        body = build_model("mobilenet_v2_half", 5, 32).body
    assert not any(isinstance(module, nn.ReLU6) for module in body.modules())
    assert [len(block.conv) for block in body.features[1:-1]] == [4] * 17
    assert body.classifier[0].p == 0


@pytest.mark.parametrize("name", STAGES_AT_32)
def test_every_weight_has_a_finite_gradient(name: str) -> None:
    torch.manual_seed(0)
    net = build_model(name, 5, 32)
    F.cross_entropy(net(torch.randn(4, 3, 32, 32)).logits, torch.tensor([0, 1, 2, 3])).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_an_option_of_vgg11_alone() -> None:
    with pytest.raises(ValueError, match="wide_head"):
        build_model("vgg13", 5, 32, wide_head=True)
    with pytest.raises(BadInput, match=r"vgg11 halves .* at least 32 px"):
        build_model("vgg11", 5, 16)
