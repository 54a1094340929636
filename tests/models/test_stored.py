"""Students on disk: they come back equal, load in the library they come from, and say what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file

from kdengine.errors import BadInput, KdError
from kdengine.models import build_model
from kdengine.models.stored import ModelCard, load_student, read_card, read_weights, write_card, write_weights
from kdengine.workspace.rundir import RunDirectory


def card(model: str = "mobilenetv3_small", size: int = 32, **options: object) -> ModelCard:
    return ModelCard(model, options, ("cat", "dog", "eel"), size, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), run="run")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    folder.create("version: 1\n", "kd train")
    return folder


def test_a_student_comes_back_equal(run: RunDirectory) -> None:
    net = build_model("mobilenetv3_small", 3, 32, dropout=0.4).eval()
    write_card(run.card_file, card(dropout=0.4, batch_norm="auto"))
    write_weights(run.student_file, net)
    again, its_card = load_student(run)
    assert its_card == card(dropout=0.4, batch_norm="auto")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(again(images).logits, net(images).logits)


def test_best_and_last_are_two_files(run: RunDirectory) -> None:
    write_card(run.card_file, card("resnet20"))
    nets = build_model("resnet20", 3, 32), build_model("resnet20", 3, 32)
    for net, file in zip(nets, (run.student_file, run.last_student_file), strict=True):
        write_weights(file, net)
    for net, last in zip(nets, (False, True), strict=True):
        assert torch.equal(load_student(run, last=last)[0].classifier.weight, net.classifier.weight)


def test_the_file_loads_in_plain_torchvision(tmp_path: Path) -> None:
    net = build_model("mobilenetv3_small", 3, 224)
    write_weights(tmp_path / "student.safetensors", net)
    plain = torchvision.models.mobilenet_v3_small(num_classes=3)
    plain.load_state_dict(load_file(tmp_path / "student.safetensors"))
    images = torch.randn(1, 3, 224, 224)
    assert torch.equal(plain.eval()(images), net.eval()(images).logits)


def test_the_file_loads_in_plain_timm(tmp_path: Path) -> None:
    net = build_model("timm/resnet10t", 3, 64)
    write_weights(tmp_path / "student.safetensors", net)
    timm.create_model("resnet10t", num_classes=3).load_state_dict(load_file(tmp_path / "student.safetensors"))


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    net = build_model("resnet8x4", 3, 32)
    for number in range(8):
        write_weights(tmp_path / str(number), net)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_another_architecture_names_the_keys(tmp_path: Path) -> None:
    write_weights(tmp_path / "student.safetensors", build_model("resnet20", 3, 32))
    with pytest.raises(KdError, match=r"does not fit resnet18: .*layer1\.0\.conv1\.weight"):
        read_weights(tmp_path / "student.safetensors", build_model("resnet18", 3, 32))
    with pytest.raises(KdError, match=r"does not fit vgg11: missing features\.0\..*; unexpected (bn1|conv1)"):
        read_weights(tmp_path / "student.safetensors", build_model("vgg11", 3, 32))


def test_another_number_of_classes_is_named(tmp_path: Path) -> None:
    write_weights(tmp_path / "student.safetensors", build_model("resnet20", 3, 32))
    with pytest.raises(KdError, match=r"does not fit resnet20: .*fc\.weight"):
        read_weights(tmp_path / "student.safetensors", build_model("resnet20", 4, 32))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    write_weights(path, build_model("resnet20", 3, 32))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(KdError, match=r"student\.safetensors .*cannot be read"):
        read_weights(path, build_model("resnet20", 3, 32))


def test_a_run_without_weights_says_so(run: RunDirectory) -> None:
    with pytest.raises(BadInput, match="the run run has no trained network yet"):
        read_card(run)
    write_card(run.card_file, card("resnet20"))
    with pytest.raises(BadInput, match=r"has no weights yet \(student\.safetensors is missing\)"):
        load_student(run)
