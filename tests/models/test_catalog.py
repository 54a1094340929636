"""The catalog of classifiers: published sizes and costs, the one contract over all of them, refusals in words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdengine.errors import BadInput
from kdengine.evaluation import cost
from kdengine.models import Backbone, build_model, list_models
from kdengine.registry import MODELS, UnknownName

# At 32 px with 100 classes. CIFAR nets, vgg8/13/16, mobilenet_v2_half and ShuffleNets: RepDistiller and mdistiller, as
# their models/*.py count when they are built; the others: torchvision's less stem and head.
PARAMETERS_AT_32 = {
    "resnet20": 278_324,
    "resnet32": 472_756,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn_16_2": 703_284,
    "wrn_40_2": 2_255_156,
    "wrn_40_1": 569_780,
    "resnet18": 11_220_132,
    "resnet34": 21_328_292,
    "resnet50": 23_705_252,
    "vgg8": 3_965_028,
    "vgg11": 9_277_284,
    "vgg13": 9_462_180,
    "vgg16": 14_774_436,
    "mobilenetv3_small": 1_620_356,
    "mobilenetv3_large": 4_330_132,
    "mobilenet_v2": 2_351_972,
    "mobilenet_v2_half": 812_836,
    "shufflenet_v1": 949_258,
    "shufflenet_v2": 1_355_528,
}
# As published by torchvision: 224 px, 1000 classes.
PARAMETERS_AT_224 = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "vgg11": 132_868_840,
    "vgg13": 133_053_736,
    "vgg16": 138_365_992,
    "mobilenetv3_small": 2_542_856,
    "mobilenetv3_large": 5_483_032,
    "mobilenet_v2": 3_504_872,
    "shufflenet_v2": 2_278_604,
}
MACS_AT_32 = {"resnet34": 1159e6, "resnet18": 555e6, "mobilenetv3_small": 17.6e6, "mobilenetv3_large": 66.6e6}
FAMILY_NAMES = {
    "timm/resnet10t": 64,
    "timm/mobilenetv3_small_050": 64,
    "timm/vit_tiny_patch16_224": 64,
    "torchvision/mobilenet_v2": 64,
    "torchvision/shufflenet_v2_x0_5": 64,
    "torchvision/vit_b_16": 32,
}

CATALOG = list_models()


def sizes(name: str) -> list[int]:
    return [size for size in (16, 32, 64) if size >= MODELS.get(name).min_size]


def check_contract(net: Backbone, classes: int, size: int) -> None:
    """What every backbone promises, in evaluation and in training mode."""
    images = torch.randn(3, 3, size, size)
    for training in (False, True):
        net.train(training)
        outputs = net(images)
        assert outputs.logits.shape == (3, classes)
        assert outputs.embedding.ndim == 2
        assert torch.allclose(net.classifier(outputs.embedding), outputs.logits, atol=1e-5)
        assert tuple(stage.shape[1] for stage in outputs.stages) == net.stage_channels
        assert all(stage.ndim == 4 and stage.shape[0] == 3 and min(stage.shape[2:]) >= 1 for stage in outputs.stages)
        sides = [stage.shape[2] for stage in outputs.stages]
        assert sides == sorted(sides, reverse=True), "stages go from shallow to deep"
    shapes = net.shapes()
    assert shapes.classes == classes and shapes.embedding == outputs.embedding.shape[1]
    assert shapes.stages == tuple(tuple(stage.shape[1:]) for stage in outputs.stages)


def test_the_catalog_has_what_the_field_compares() -> None:
    assert set(CATALOG) >= set(PARAMETERS_AT_32)
    assert list_models("resnet?x4") == ["resnet8x4"]


@pytest.mark.parametrize("name", PARAMETERS_AT_32)
def test_parameters_of_the_small_image_form(name: str) -> None:
    with torch.device("meta"):
        assert cost.count_parameters(build_model(name, 100, 32)) == PARAMETERS_AT_32[name]


@pytest.mark.parametrize("name", PARAMETERS_AT_224)
def test_parameters_as_published(name: str) -> None:
    with torch.device("meta"):
        assert cost.count_parameters(build_model(name, 1000, 224)) == PARAMETERS_AT_224[name]


def test_resnet34_at_224_with_100_classes() -> None:
    assert cost.count_parameters(build_model("resnet34", 100, 224)) == 21_335_972


def test_vgg_with_its_wide_head() -> None:
    assert cost.count_parameters(build_model("vgg11", 100, 32, wide_head=True)) == pytest.approx(28.518e6, rel=1e-4)


@pytest.mark.parametrize("name", MACS_AT_32)
def test_multiply_accumulates(name: str) -> None:
    assert cost.count(build_model(name, 100, 32)).macs == pytest.approx(MACS_AT_32[name], rel=0.01)


@pytest.mark.parametrize(("name", "size"), [(name, size) for name in CATALOG for size in sizes(name)])
def test_contract(name: str, size: int) -> None:
    check_contract(build_model(name, 7, size), 7, size)


@pytest.mark.parametrize("name", [name for name in PARAMETERS_AT_224 if not name.startswith("vgg")])
def test_contract_at_224(name: str) -> None:
    net = build_model(name, 7, 224)
    with torch.no_grad():
        check_contract(net, 7, 224)
    assert net.shapes().stages[-1][1:] == (7, 7)


def test_deepest_maps_are_worth_looking_at_in_small_images() -> None:
    deepest = {
        name: build_model(name, 10, 32).shapes().stages[-1][1] for name in ("resnet18", "resnet20", "mobilenetv3_small")
    }
    assert deepest == {"resnet18": 4, "resnet20": 8, "mobilenetv3_small": 4}


@pytest.mark.parametrize("name", CATALOG)
def test_asking_for_shapes_and_cost_changes_nothing(name: str) -> None:
    size = MODELS.get(name).min_size
    net = build_model(name, 4, max(size, 16))
    net.train()
    list(net.modules())[-1].eval()
    modes = [module.training for module in net.modules()]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    net.shapes()
    cost.count(net)
    assert torch.equal(torch.rand(3), wanted), "random numbers were drawn"
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes


@pytest.mark.parametrize("name", CATALOG)
def test_too_small_images_are_refused_in_words(name: str) -> None:
    smallest = MODELS.get(name).min_size
    build_model(name, 3, smallest).eval()(torch.zeros(1, 3, smallest, smallest))
    with pytest.raises(BadInput, match=f"data.image_size: {name} halves .* use at least {smallest} px"):
        build_model(name, 3, smallest - 1)


def test_one_class_is_refused() -> None:
    with pytest.raises(BadInput, match="found 1 class; a classifier needs at least two"):
        build_model("resnet20", 1, 32)


@pytest.mark.parametrize("name", CATALOG)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    first, second = [], []
    for weights in (first, second):
        torch.manual_seed(3)
        weights += build_model(name, 4, 32).parameters()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# the families of timm and torchvision --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_contract_of_families(name: str) -> None:
    net = build_model(name, 6, FAMILY_NAMES[name])
    if "vit" in name and name.startswith("torchvision"):
        assert net.stage_channels == (), "a transformer of torchvision has no maps"
    with torch.no_grad():
        check_contract(net, 6, FAMILY_NAMES[name])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet2O", "did you mean .*'resnet20'"),
        ("timm/resnet10", "did you mean .*resnet10t"),
        ("torchvision/mobilenet_v4", "did you mean mobilenet_v"),
        ("torchvision/qqqqqq", "torchvision has no classifier 'qqqqqq'"),
    ],
)
def test_unknown_names(name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=near):
        build_model(name, 10, 32)


@pytest.mark.parametrize("name", ["torchvision/vit_b_16", "torchvision/alexnet"])
def test_a_size_that_a_family_cannot_process(name: str) -> None:
    with pytest.raises(BadInput, match=f"{name} cannot process 20 px images"):
        build_model(name, 10, 20)


# batch normalisation -------------------------------------------------------------------------------------------------


def numbers(net: nn.Module) -> set[tuple[float | None, float]]:
    return {(module.momentum, module.eps) for module in net.modules() if isinstance(module, nn.BatchNorm2d)}


@pytest.mark.parametrize(
    ("size", "option", "wanted"),
    [
        (32, "auto", {(0.1, 1e-5)}),
        (128, "auto", {(0.1, 1e-5)}),
        (224, "auto", {(0.01, 1e-3)}),
        (32, "published", {(0.01, 1e-3)}),
        (224, "scratch", {(0.1, 1e-5)}),
    ],
)
def test_batch_norm_numbers(size: int, option: str, wanted: set[tuple[float, float]]) -> None:
    assert numbers(build_model("mobilenetv3_small", 10, size, batch_norm=option)) == wanted


def test_batch_norm_numbers_of_families() -> None:
    assert numbers(build_model("timm/mobilenetv3_small_050", 10, 64)) == {(0.1, 1e-5)}
