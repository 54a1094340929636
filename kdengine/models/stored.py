"""Students on disk: weights as safetensors, in the names of the body's own library, and a model card beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kdengine.errors import BadInput, DamagedFile, KdError, Problem
from kdengine.models.backbone import Backbone, build_model
from kdengine.models.projected import ProjectedBackbone, rebuild
from kdengine.workspace import files
from kdengine.workspace.rundir import RunDirectory


@dataclass(frozen=True)
class ModelCard:
    """What one must know to use the weights: architecture, classes, preprocessing, and the numbers measured.

    Attributes:
        model: catalog name.
        options: the model's own parameters.
        classes: class names in the order of the logits.
        image_size: side of the square in pixels.
        mean, std: per-channel normalisation, in units of 0..1 pixel values.
        weights: "raw" or "ema".
        metrics: what was measured, by split; filled when the run has ended.
        run, fingerprint: where the weights come from.
        added: what the method deploys beside the model's body, in plain types with its ``kind``; None for nothing.
        ground: what transparent parts of an image are laid on, one of `kdengine.data.sources.image_files.GROUNDS`.
    """

    model: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: str = "raw"
    metrics: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    fingerprint: str = ""
    added: dict[str, Any] | None = None
    ground: str = "white"


def added_to(backbone: Backbone) -> dict[str, Any] | None:
    """What a model card says of the parts that were added to a body; None for a plain net."""
    return backbone.added if isinstance(backbone, ProjectedBackbone) else None


def write_card(path: Path, card: ModelCard) -> None:
    """Writes a model_card.json."""
    content = asdict(card)
    if card.added is None:
        del content["added"]
    if card.ground == "white":
        del content["ground"]
    files.write_json(path, content)


def read_card(run: RunDirectory) -> ModelCard:
    """Reads model_card.json; raises BadInput when the run has not written one."""
    content = files.read_json(run.card_file)
    if content is None:
        raise BadInput(Problem("run", f"the run {run.id} has no trained network yet (no model_card.json)"))
    return card_of(content)


def card_of(content: Mapping[str, Any]) -> ModelCard:
    """The card of what a model_card.json holds; raises DamagedFile when it holds something else."""
    try:
        return _card_of(content)
    except (KeyError, TypeError) as error:
        raise DamagedFile(f"model_card.json is damaged: found no card of a network ({error})") from error


def _card_of(content: Mapping[str, Any]) -> ModelCard:
    return ModelCard(**{**content, **{key: tuple(content[key]) for key in ("classes", "mean", "std")}})


def write_weights(path: Path, backbone: Backbone) -> None:
    """Writes the body's weights atomically; a plain net's file loads in the body's own library."""
    write_tensors(path, backbone.body.state_dict())


def write_tensors(path: Path, state: Mapping[str, Any]) -> None:
    """Writes the tensors of a state atomically; what is no tensor is left out."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in state.items() if isinstance(value, torch.Tensor)
    }
    with files.atomic_path(path) as temporary:
        # One entry only: the library writes several in random order, and equal weights should be equal files.
        save_file(tensors, temporary, metadata={"format": "pt"})


def load_student(run: RunDirectory, *, last: bool = False) -> tuple[Backbone, ModelCard]:
    """The trained student of a run, in eval mode on the CPU, and its card.

    Args:
        run: a run that has finished at least one epoch.
        last: the weights of the last epoch instead of those best by validation.

    Raises:
        BadInput: no weights yet. KdError: the file does not fit the architecture that the card names.
    """
    card = read_card(run)
    path = run.last_student_file if last else run.student_file
    if not path.is_file():
        raise BadInput(Problem("run", f"the run {run.id} has no weights yet ({path.name} is missing)"))
    return load_network(card, path), card


def load_network(card: ModelCard, path: Path) -> Backbone:
    """The network of a card with a file's weights, in eval mode on the CPU; raises KdError where they do not fit."""
    backbone = build_model(card.model, len(card.classes), card.image_size, **card.options)
    if card.added is not None:
        backbone = rebuild(backbone, card.added)
    read_weights(path, backbone)
    return backbone.eval()


def read_weights(path: Path, backbone: Backbone) -> None:
    """Loads the body's weights; raises KdError naming missing and unexpected keys, or a damaged file."""
    tensors = read_tensors(path)
    try:
        missing, unexpected = backbone.body.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise KdError(f"{path.name} does not fit {backbone.name}: {' '.join(str(error).split())}") from error
    if missing or unexpected:
        raise KdError(
            f"{path.name} does not fit {backbone.name}: missing {', '.join(missing[:5]) or 'nothing'}; "
            f"unexpected {', '.join(unexpected[:5]) or 'nothing'}"
        )


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Reads a safetensors file; raises KdError when it is damaged or none."""
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise KdError(f"{path} cannot be read ({error}); it is damaged or no safetensors file") from error
    return tensors
