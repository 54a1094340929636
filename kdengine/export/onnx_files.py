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

from kdengine import files
from kdengine.models.stored import ModelCard

OPSET = 18
INPUT = "pictures"
OUTPUT = "logits"


class Answering(nn.Module):
    """A function of pictures as a module, with the modules that it uses, so that it can be exported.

    Args:
        answer: pictures (B, 3, S, S) -> logits (B, C).
        parts: every module that it asks.
    """

    def __init__(self, answer: Callable[[Tensor], Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x)


def write(path: Path, network: Answering, card: ModelCard) -> None:
    """Writes a network, its number of pictures free, with the card's facts in the file's metadata.

    Names of source files, which the exporter notes at every node, are left out.
    """
    pictures = torch.zeros(2, 3, card.image_size, card.image_size)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            (pictures,),
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
        "input": "RGB, float32, (pixel / 255 - mean) / std, NCHW",
    }
    return {f"kd.{name}": json.dumps(value, ensure_ascii=False) for name, value in facts.items()}


def read(path: Path) -> Callable[[Tensor], Tensor]:
    """The network of a file, on one thread of the CPU: pictures (B, 3, S, S) -> logits (B, C)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def answers(x: Tensor) -> Tensor:
        logits: np.ndarray = session.run([OUTPUT], {INPUT: x.contiguous().numpy()})[0]
        return torch.from_numpy(logits)

    return answers


def quantise(source: Path, target: Path, calibration: Iterable[Tensor]) -> None:
    """Reduces a file to 8 bits: signed weights per channel, signed activations whose range is that of the pictures.

    Args:
        source: an ONNX file of `write`.
        target: written in the QDQ form, which other runtimes read too.
        calibration: batches of normalised pictures (B, 3, S, S), none of them of the test part.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    class Reader(quantization.CalibrationDataReader):
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
