"""The weights of a torchvision or timm body load in that library alone, and then answer alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import NORM, PATIENCE_S
from torch import nn

from kdengine.export.library import loading
from kdengine.models import Backbone, build_model, list_models
from kdengine.models.stored import ModelCard, write_weights


def lived_in(name: str, size: int) -> Backbone:
    """A net whose running statistics are those of no fresh one."""
    torch.manual_seed(0)
    net = build_model(name, 7, size).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


def card_of(net: Backbone) -> ModelCard:
    return ModelCard(net.name, {}, tuple("abcdefg"), net.image_size, *NORM)


@pytest.mark.parametrize(
    ("name", "size", "library"),
    [
        ("timm/resnet10t", 32, "timm"),
        ("timm/vit_tiny_patch16_224", 32, "timm"),
        ("torchvision/mobilenet_v3_small", 64, "torchvision"),
        ("torchvision/shufflenet_v2_x0_5", 64, "torchvision"),
        ("resnet18", 32, "torchvision"),
        ("resnet18", 224, "torchvision"),
        ("mobilenetv3_small", 32, "torchvision"),
        ("shufflenet_v2", 32, "torchvision"),
        ("resnet20", 32, "kdengine"),
        ("resnet18_cip", 32, "kdengine"),
        ("mobilenet_v2_half", 32, "kdengine"),
    ],
)
def test_the_lines_build_the_same_network(name: str, size: int, library: str, tmp_path: Path) -> None:
    net = lived_in(name, size)
    write_weights(tmp_path / "model.safetensors", net)
    found = loading(net, card_of(net), tmp_path / "model.safetensors")
    assert found.library == library
    if library == "kdengine":
        return
    names: dict[str, nn.Module] = {}
    exec("\n".join(found.lines).replace("model.safetensors", str(tmp_path / "model.safetensors")), names)
    images = torch.randn(3, 3, size, size)
    with torch.no_grad():
        assert torch.allclose(names["model"](images), net(images).logits, rtol=1e-4, atol=1e-5)


def test_the_library_needs_nothing_of_ours(tmp_path: Path) -> None:
    net = lived_in("mobilenetv3_small", 32)
    write_weights(tmp_path / "model.safetensors", net)
    torch.save(net(torch.ones(1, 3, 32, 32)).logits.detach(), tmp_path / "expected.pt")
    lines = [
        "import sys; sys.modules['kdengine'] = None",
        *loading(net, card_of(net), tmp_path / "model.safetensors").lines,
        "import torch; expected = torch.load('expected.pt', weights_only=True)",
        "sys.exit(not torch.allclose(model(torch.ones(1, 3, 32, 32)), expected, rtol=1e-4, atol=1e-5))",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.long
@pytest.mark.parametrize("name", list_models())
def test_every_net_of_the_catalog_becomes_onnx(name: str, tmp_path: Path) -> None:
    from kdengine.export import onnx_files
    from kdengine.export.pieces import deployed

    net = lived_in(name, 32)
    onnx_files.write(tmp_path / "model.onnx", onnx_files.ImagesToLogits(deployed(net), net), card_of(net))
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = net(images).logits
        found = onnx_files.read(tmp_path / "model.onnx")(images)
    assert (found - expected).abs().max() < 1e-3 * max(1, expected.abs().max().item())
