"""A trained student asked about single images: upload in, probabilities out."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from kdengine.data.sources.image_files import FORMATS, can_be_transparent, lay
from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone
from kdengine.models.stored import ModelCard, load_student
from kdengine.workspace.rundir import RunDirectory

MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class Prediction:
    """Probabilities (class name -> 0..1, highest first, at most five) and the milliseconds of the forward pass."""

    top: tuple[tuple[str, float], ...]
    milliseconds: float


class Classifier:
    """A trained network, ready to predict.

    Args:
        source: a run with weights (BadInput when it has none), or a network in eval mode with its card.
        device: where it computes.
    """

    def __init__(self, source: RunDirectory | tuple[Backbone, ModelCard], device: str = "cpu") -> None:
        backbone, self.card = load_student(source) if isinstance(source, RunDirectory) else source
        self.backbone = backbone.to(device)
        self.device = device

    @torch.no_grad()
    def __call__(self, image: Image.Image) -> Prediction:
        """The five most likely classes of one image."""
        x = torch.from_numpy(prepare(image, self.card)).to(self.device)
        start = time.perf_counter()
        probabilities = self.backbone(x).logits.float().softmax(dim=1)[0].cpu()
        milliseconds = 1000 * (time.perf_counter() - start)
        # Stable: of equal probabilities the first class comes first, as argmax has it.
        values, indices = (ranked[:5] for ranked in probabilities.sort(descending=True, stable=True))
        top = zip(indices.tolist(), values.tolist(), strict=True)
        return Prediction(tuple((self.card.classes[index], value) for index, value in top), milliseconds)


def prepare(image: Image.Image, card: ModelCard) -> np.ndarray:
    """An image as the network expects it: (1, 3, S, S) float32, shorter side resized, centre cropped, normalised."""
    pixels = squared(image, card.image_size, card.ground).astype(np.float32) / 255
    normalised = (pixels - np.asarray(card.mean, np.float32)) / np.asarray(card.std, np.float32)
    return normalised.transpose(2, 0, 1)[None].copy()


def squared(image: Image.Image, size: int, ground: str = "white") -> np.ndarray:
    """An image as a square uint8 (S, S, 3): transparent parts on a ground, shorter side resized, centre cropped."""
    return np.asarray(ImageOps.fit(lay(image, ground), (size, size), Image.Resampling.BILINEAR))


def open_image(source: Path | BinaryIO, name: str = "") -> Image.Image:
    """Opens an image file of a common format, upright, as RGB; as RGBA where it may be transparent (`squared` lays it).

    Raises:
        BadInput: not an image, damaged, of an unknown format or larger than 50 megapixels; says which.
    """
    name = name or (source.name if isinstance(source, Path) else "the image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(source, formats=FORMATS)
        with opened:
            if opened.width * opened.height > MAX_PIXELS:
                megapixels = opened.width * opened.height / 1e6
                message = f"{name} has {megapixels:.0f} megapixels; at most {MAX_PIXELS / 1e6:.0f} are read"
                raise BadInput(Problem("image", message))
            opened.load()
            return _rgb_or_transparent(ImageOps.exif_transpose(opened))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise BadInput(Problem("image", f"there is no image file {name}")) from error
    except UnidentifiedImageError as error:
        raise BadInput(
            Problem("image", f"{name} is not an image in one of the formats {', '.join(FORMATS)}")
        ) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(Problem("image", f"{name} is damaged: {error}")) from error


def _rgb_or_transparent(image: Image.Image) -> Image.Image:
    """RGB or RGBA; 16-bit grey is scaled to 8 bits."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode.startswith("I") and values.max(initial=0) > 255 else 255.0
        image = Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
    return image.convert("RGBA" if can_be_transparent(image) else "RGB")
