"""Weights whose names are not ours: told from shapes and order where that is exact, and refused where it is not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from kdengine.cli import main
from kdengine.errors import BadInput
from kdengine.models import build_model
from kdengine.teachers import records, weights
from kdengine.teachers.fitting import fit, full_options
from kdengine.teachers.renaming import rename
from kdengine.workspace import Workspace


class Block(nn.Module):
    """As akamaster/pytorch_resnet_cifar10 has it, option A, written anew from He et al. 2016."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes_in, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.grows = planes != planes_in

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.grows:
            half, quarter = x[:, :, ::2, ::2], self.conv1.out_channels // 4
            zeros = half.new_zeros(half.shape[0], quarter, *half.shape[2:])
            shortcut = torch.cat([zeros, half, zeros], dim=1)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class Published(nn.Module):
    """The three-stage net with the published names: ``linear`` for the classifier, nothing at the shortcuts."""

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        planes = 16
        for number, width in enumerate((16, 32, 64), 1):
            stage = []
            for block in range(blocks):
                stage.append(Block(planes, width, 2 if block == 0 and number > 1 else 1))
                planes = width
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


@torch.no_grad()
def lived_in(net: nn.Module, seed: int = 0) -> nn.Module:
    """With statistics of batch norm that are not the initial ones, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    for name, buffer in net.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return net.eval()


def taken(net: nn.Module, model: str, prefix: str = "", **given: object):
    state = {prefix + name: value for name, value in net.state_dict().items()}
    return fit(state, model, 32, full_options(model, given), given)


@pytest.mark.parametrize(("model", "blocks"), [("resnet20", 3), ("resnet56", 9)])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_cifar_resnet_loads_as_it_is(model: str, blocks: int, prefix: str) -> None:
    net = lived_in(Published(blocks))
    found = taken(net, model, prefix)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(found.backbone(images).logits, net(images), rtol=1e-4, atol=1e-4)
    assert found.options == {"shortcut": "pad"}
    assert "the weights fit with shortcut=pad" in found.notes
    assert "names told from shapes and order: linear -> fc" in found.notes


def test_the_tenth_block_is_not_taken_for_the_second() -> None:
    """Blocks that count from 1 there and from 0 here: sorted as text, 10 would stand before 2 on one side only."""
    net = lived_in(Published(18, classes=7))
    state = {re.sub(r"^(layer\d)\.(\d+)", lambda at: f"{at[1]}.{int(at[2]) + 1}", name): value
             for name, value in net.state_dict().items()}  # fmt: skip
    found = fit(state, "resnet110", 32, full_options("resnet110", {}))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(found.backbone(images).logits, net(images), rtol=1e-3, atol=1e-3)


def test_a_choice_that_a_person_made_is_not_changed() -> None:
    with pytest.raises(BadInput, match=r"not the weights of resnet20 at 32 px: 12 missing|missing: .*downsample"):
        taken(lived_in(Published(3)), "resnet20", shortcut="conv")


def test_another_depth_is_refused() -> None:
    with pytest.raises(BadInput, match="not the weights of resnet32"):
        taken(lived_in(Published(3)), "resnet32")


def test_names_that_contradict_each_other_are_refused() -> None:
    """Of modules that are alike the order decides; where their words say that it cannot be theirs, nothing is taken."""
    ours = build_model("resnet20", 10, 32, shortcut="pad").body.state_dict()
    plain = {name.replace("fc.", "linear."): value for name, value in ours.items()}
    assert rename(plain, ours) is not None
    # In one block the two convolutions go by each other's names: "conv1" would be conv1 here and conv2 there.
    crossed = {
        name.replace("layer3.1.conv1", "layer3.1.conv9").replace("layer3.2.conv2", "layer3.2.conv0"): value
        for name, value in plain.items()
    }
    assert rename(crossed, ours) is None


def test_every_tensor_is_used_once() -> None:
    ours = build_model("resnet20", 10, 32).body.state_dict()
    foreign = OrderedDict((name.replace("downsample", "shortcut"), value) for name, value in ours.items())
    names = rename(foreign, ours)
    assert names is not None
    assert sorted(names.values()) == sorted(name for name in ours if "num_batches_tracked" not in name)
    assert names["layer2.0.shortcut.1.running_var"] == "layer2.0.downsample.1.running_var"
    assert rename(dict(list(foreign.items())[:-1]), ours) is None  # one tensor less


def test_it_is_shown_before_it_is_used(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "published.safetensors"
    save_file({f"module.{name}": value for name, value in lived_in(Published(3)).state_dict().items()}, file)
    words = ["import", "found", "--weights", str(file), "--model", "resnet20", "--image-size", "32"]
    assert main([*words, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    row = next(line for line in out.splitlines() if line.startswith("linear.weight"))
    assert row.split() == ["linear.weight", "fc.weight", "10x64"]
    assert "shortcut=pad" in err and "Nothing was kept" in err
    assert not list(workspace.teachers.glob("*"))

    assert main(words) == 0
    assert "linear -> fc" in capsys.readouterr().err
    imported = records.find(workspace, "found")
    assert imported.options == {"shortcut": "pad"}
    backbone, _ = weights.load(imported)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(backbone(images).logits, lived_in(Published(3))(images), rtol=1e-4, atol=1e-4)


def test_to_list_teachers_brings_no_torch(workspace: Workspace) -> None:
    code = "import sys; from kdengine.cli import main; main(['import', '--list']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_a_dry_run_needs_weights(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> None:
    assert main(["import", "found", "--dry-run"]) == 2
    assert "goes with --weights or --published" in capsys.readouterr().err
