"""What is asked of an export, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kdengine.errors import Problem

PICTURES = 2000


@dataclass(frozen=True)
class Request:
    """What is to be written.

    Attributes:
        format: "safetensors": the weights in the names of the body's own library; "onnx": a network that answers
            normalised pictures (N, 3, S, S), N free, in ONNX Runtime.
        int8: beside the ONNX file one with 8-bit weights and activations, calibrated on training pictures.
        exits: the early exits of a self-distilled student as well, in files of their own.
        last: the weights of the last epoch instead of those best by validation.
        pictures: at most so many test pictures, spread evenly over the part, for parity and accuracy.
    """

    format: Literal["safetensors", "onnx"] = "safetensors"
    int8: bool = False
    exits: bool = False
    last: bool = False
    pictures: int = PICTURES

    def problems(self) -> list[Problem]:
        """What does not go together, whatever the run."""
        found = []
        if self.int8 and self.format != "onnx":
            found.append(Problem("--int8", "8-bit weights are written as ONNX; add --format onnx"))
        if self.exits and self.last:
            found.append(
                Problem("--last", "exits are kept with the best weights only; leave one of the two options out")
            )
        if self.pictures < 1:
            found.append(Problem("--pictures", f"found {self.pictures}, expected at least 1"))
        return found


class Measured(NamedTuple):
    """A network that was tried on test pictures.

    Attributes:
        file: its name in the folder; "" for the run's network in PyTorch.
        holds: what it is, in words.
        bytes: size of the file, of weights and buffers for PyTorch.
        accuracy: on the pictures, 0..1.
        agreement: share of the pictures where the highest class is that of the same answer in PyTorch, 0..1.
        difference: largest absolute difference of a logit to that answer.
        milliseconds: median of one picture alone, one thread.
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
        data: name of the data set that the test ``pictures`` come from.
        hardware: what the milliseconds were measured on.
        networks: PyTorch first, then each file that answers pictures.
        loading: how the safetensors are loaded; None for ONNX.
    """

    run: str
    folder: Path
    request: Request
    data: str
    pictures: int
    hardware: str
    networks: tuple[Measured, ...]
    loading: Loading | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it but the place, which changes when the folder is moved."""
        content = asdict(self)
        del content["folder"]
        loading = self.loading._asdict() if self.loading else None
        return content | {"networks": [network._asdict() for network in self.networks], "loading": loading}
