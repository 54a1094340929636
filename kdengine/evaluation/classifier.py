"""A trained student asked about single pictures: upload in, probabilities out."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone
from kdengine.models.stored import ModelCard, load_student
from kdengine.rundir import RunDirectory

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Answer:
    """Probabilities (class name -> 0..1, highest first, at most five) and the milliseconds of the forward pass."""

    top: tuple[tuple[str, float], ...]
    milliseconds: float


class Classifier:
    """A trained network, ready to answer.

    Args:
        source: a run with weights (BadInput when it has none), or a network in eval mode with its card.
        device: where it computes.
    """

    def __init__(self, source: RunDirectory | tuple[Backbone, ModelCard], device: str = "cpu") -> None:
        backbone, self.card = load_student(source) if isinstance(source, RunDirectory) else source
        self.backbone = backbone.to(device)
        self.device = device

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> Answer:
        x = torch.from_numpy(prepare(picture, self.card)).to(self.device)
        start = time.perf_counter()
        probabilities = self.backbone(x).logits.float().softmax(dim=1)[0].cpu()
        milliseconds = 1000 * (time.perf_counter() - start)
        values, indices = probabilities.topk(min(5, len(self.card.classes)))
        top = zip(indices.tolist(), values.tolist(), strict=True)
        return Answer(tuple((self.card.classes[index], value) for index, value in top), milliseconds)


def prepare(picture: Image.Image, card: ModelCard) -> np.ndarray:
    """A picture as the network expects it: (1, 3, S, S) float32, shorter side resized, centre cropped, normalised."""
    pixels = squared(picture, card.image_size).astype(np.float32) / 255
    normalised = (pixels - np.asarray(card.mean, np.float32)) / np.asarray(card.std, np.float32)
    return normalised.transpose(2, 0, 1)[None].copy()


def squared(picture: Image.Image, size: int) -> np.ndarray:
    """A picture as a square uint8 (S, S, 3): shorter side resized, centre cropped."""
    return np.asarray(ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BILINEAR))


def open_picture(source: Path | BinaryIO, name: str = "") -> Image.Image:
    """Opens a picture file of a common format, upright, as RGB (transparent parts on white).

    Raises:
        BadInput: not a picture, damaged, of an unknown format or larger than 50 megapixels; says which.
    """
    name = name or (source.name if isinstance(source, Path) else "the picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(source, formats=FORMATS)
        if picture.width * picture.height > MAX_PIXELS:
            megapixels = picture.width * picture.height / 1e6
            raise BadInput(
                Problem("picture", f"{name} has {megapixels:.0f} megapixels; at most {MAX_PIXELS / 1e6:.0f} are read")
            )
        picture.load()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise BadInput(Problem("picture", f"there is no picture file {name}")) from error
    except UnidentifiedImageError as error:
        raise BadInput(
            Problem("picture", f"{name} is not a picture in one of the formats {', '.join(FORMATS)}")
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(Problem("picture", f"{name} is damaged: {error}")) from error
    return flatten(ImageOps.exif_transpose(picture))


def flatten(picture: Image.Image) -> Image.Image:
    """RGB, with transparent parts on white and 16-bit grey scaled to 8 bits."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture, dtype=np.float32)
        top = 65535.0 if picture.mode.startswith("I") and values.max(initial=0) > 255 else 255.0
        picture = Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        background = Image.new("RGBA", layered.size, "white")
        picture = Image.alpha_composite(background, layered)
    return picture.convert("RGB")
