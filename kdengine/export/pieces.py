"""The files of an export: what each holds, how it is written, how it is read again, and what it must compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from kdengine.errors import KdError
from kdengine.export import onnx_files
from kdengine.export.request import Request
from kdengine.methods.base import Exit, Method
from kdengine.models.backbone import Backbone
from kdengine.models.stored import ModelCard, load_network, write_weights

WEIGHTS = "model.safetensors"
EXITS = "exits.safetensors"
MODEL = "model.onnx"
INT8 = "model.int8.onnx"
ROUNDING = 1e-3

ToLogits = Callable[[Tensor], Tensor]
"""Normalised images (B, 3, S, S) -> logits (B, C)."""


@dataclass(frozen=True)
class Piece:
    """One file that classifies images.

    Attributes:
        file: its name.
        holds: in words.
        write: writes it.
        read: loads what was written.
        expected: the same logits in PyTorch.
        tolerance: how far a logit may be from the expected one, as a share of the largest of all; None where the file
            must differ, and how much so is only measured.
    """

    file: str
    holds: str
    write: Callable[[Path], None]
    read: Callable[[Path], ToLogits]
    expected: ToLogits
    tolerance: float | None = ROUNDING


def of(
    request: Request, student: Backbone, card: ModelCard, method: Method | None, calibration: Iterable[Tensor]
) -> list[Piece]:
    """The pieces that are asked for, the deployed network first.

    Args:
        request: what to write.
        student, card: the network of the run, in eval mode.
        method: with the exits, in eval mode; None when they are not asked for.
        calibration: normalised training images for 8-bit numbers.
    """
    if request.format == "safetensors":
        return [_safetensors(student, card)]
    exits = method.exits() if method is not None else []
    found = [_onnx(student, card), *(_onnx_exit(exit_, student, method, card) for exit_ in exits)]
    return [*found, _int8(student, calibration)] if request.int8 else found


def deployed(backbone: Backbone) -> ToLogits:
    """The logits that a network gives in use."""
    return lambda x: backbone(x).logits


def _safetensors(student: Backbone, card: ModelCard) -> Piece:
    def read(path: Path) -> ToLogits:
        return deployed(load_network(card, path))

    return Piece(
        WEIGHTS, "the weights, read again", partial(write_weights, backbone=student), read, deployed(student), 0
    )


def _onnx(student: Backbone, card: ModelCard) -> Piece:
    network = onnx_files.ImagesToLogits(deployed(student), student)

    def write(path: Path) -> None:
        onnx_files.write(path, network, card)

    return Piece(MODEL, "the network", write, onnx_files.read, network)


def _onnx_exit(exit_: Exit, student: Backbone, method: Method | None, card: ModelCard) -> Piece:
    assert method is not None
    network = onnx_files.ImagesToLogits(lambda x: exit_.logits(student(x)), student, method)

    def write(path: Path) -> None:
        onnx_files.write(path, network, card)

    return Piece(
        f"{exit_.name.replace(' ', '-')}.onnx", f"the network up to {exit_.name}", write, onnx_files.read, network
    )


def _int8(student: Backbone, calibration: Iterable[Tensor]) -> Piece:
    def write(path: Path) -> None:
        full = path.with_name(MODEL)
        if not full.is_file():
            raise KdError(f"{INT8} is made from {MODEL}, which is not there")
        onnx_files.quantise(full, path, calibration)

    return Piece(INT8, "8-bit weights and activations", write, onnx_files.read, deployed(student), None)
