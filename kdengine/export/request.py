"""What is asked of an export, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kdengine.errors import Problem

IMAGES = 2000


@dataclass(frozen=True)
class Request:
    """What is to be written.

    Attributes:
        format: "safetensors": the weights in the names of the body's own library; "onnx": a network that classifies
            normalised images (N, 3, S, S), N free, in ONNX Runtime.
        int8: beside the ONNX file one with 8-bit weights and activations, calibrated on training images.
        exits: the early exits of a self-distilled student as well, in files of their own.
        last: the weights of the last epoch instead of those best by validation.
        images: at most so many test images, spread evenly over the part, for parity and accuracy.
    """

    format: Literal["safetensors", "onnx"] = "safetensors"
    int8: bool = False
    exits: bool = False
    last: bool = False
    images: int = IMAGES

    def problems(self) -> list[Problem]:
        """What does not go together, whatever the run."""
        found = []
        if self.int8 and self.format != "onnx":
            found.append(Problem("--int8", "8-bit weights are written as ONNX; add --format onnx"))
        if self.exits and self.last:
            found.append(
                Problem("--last", "exits are kept with the best weights only; leave one of the two options out")
            )
        if self.images < 1:
            found.append(Problem("--images", f"found {self.images}, expected at least 1"))
        return found


class Measured(NamedTuple):
    """A network that was tried on test images.

    Attributes:
        file: its name in the folder; "" for the run's network in PyTorch.
        holds: what it is, in words.
        bytes: size of the file, of weights and buffers for PyTorch.
        accuracy: on the images, 0..1.
        agreement: share of the images where the predicted class is the same in PyTorch, 0..1.
        difference: largest absolute difference of a logit to PyTorch's.
        milliseconds: median of one image alone, one thread.
    """

    file: str
    holds: str
    bytes: int
    accuracy: float
    agreement: float
    difference: float
    milliseconds: float


class Loading(NamedTuple):
    """Lines of Python that load the safetensors into ``model``, and the library that they need."""

    library: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Exported:
    """A folder of files that were tried.

    Attributes:
        run: id of the run.
        folder: where they lie.
        request: what was asked for.
        data: name of the data set that the test ``images`` come from.
        hardware: what the milliseconds were measured on.
        networks: PyTorch first, then each file that classifies images.
        loading: how the safetensors are loaded; None for ONNX.
    """

    run: str
    folder: Path
    request: Request
    data: str
    images: int
    hardware: str
    networks: tuple[Measured, ...]
    loading: Loading | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it but the place, which changes when the folder is moved."""
        content = asdict(self)
        del content["folder"]
        loading = self.loading._asdict() if self.loading else None
        return content | {"networks": [network._asdict() for network in self.networks], "loading": loading}
