"""ONNX files: written from a network, read by ONNX Runtime, reduced to 8 bits. The only file that imports onnx."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from kdengine.models.stored import ModelCard
from kdengine.workspace import files

OPSET = 18
INPUT = "images"
OUTPUT = "logits"


class ImagesToLogits(nn.Module):
    """A function of images as a module, with the modules that it uses, so that it can be exported.

    Args:
        to_logits: images (B, 3, S, S) -> logits (B, C).
        parts: every module that it calls.
    """

    def __init__(self, to_logits: Callable[[Tensor], Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.to_logits = to_logits

    @override
    def forward(self, x: Tensor) -> Tensor:
        return self.to_logits(x)


def write(path: Path, network: ImagesToLogits, card: ModelCard) -> None:
    """Writes a network, its number of images free, with the card's facts in the file's metadata.

    Names of source files, which the exporter notes at every node, are left out.
    """
    images = torch.zeros(2, 3, card.image_size, card.image_size)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            (images,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model
    for noted in _noted(model):
        noted.metadata_props.clear()
    model.metadata_props.update(_facts(card))
    with files.atomic_path(path) as temporary:
        program.save(temporary, external_data=False)


def _noted(model: Any) -> Iterator[Any]:
    """Everything of a model that carries notes."""
    yield model
    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    for node in model.graph.all_nodes():
        yield node
        yield from node.outputs


def _facts(card: ModelCard) -> dict[str, str]:
    """What one must know to use the file, each value as JSON."""
    facts = {
        "model": card.model,
        "classes": card.classes,
        "image_size": card.image_size,
        "mean": card.mean,
        "std": card.std,
        "transparent": card.ground,
        "input": "RGB, float32, (pixel / 255 - mean) / std, NCHW",
    }
    return {f"kd.{name}": json.dumps(value, ensure_ascii=False) for name, value in facts.items()}


def read(path: Path) -> Callable[[Tensor], Tensor]:
    """The network of a file, on one thread of the CPU: images (B, 3, S, S) -> logits (B, C)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def to_logits(x: Tensor) -> Tensor:
        logits: np.ndarray = session.run([OUTPUT], {INPUT: x.contiguous().numpy()})[0]
        return torch.from_numpy(logits)

    return to_logits


def quantise(source: Path, target: Path, calibration: Iterable[Tensor]) -> None:
    """Reduces a file to 8 bits: signed weights per channel, signed activations whose range is that of the images.

    Args:
        source: an ONNX file of `write`.
        target: written in the QDQ form, which other runtimes read too.
        calibration: batches of normalised images (B, 3, S, S), none of them of the test part.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(calibration)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch.contiguous().numpy()}

    with _quiet(), tempfile.TemporaryDirectory() as place, files.atomic_path(target) as temporary:
        prepared = Path(place) / "prepared.onnx"
        shape_inference.quant_pre_process(str(source), str(prepared))
        quantization.quantize_static(
            str(prepared),
            str(temporary),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps notes of the exporters for their own developers from the person's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
