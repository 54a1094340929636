"""One picture: from file content or array to a square uint8 RGB array."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"})
MAX_PIXELS = 89_478_485


class CorruptPicture(Exception):
    """A file that is not a picture that can be read; the text says why."""


def decode(content: bytes, size: int) -> np.ndarray:
    """Decodes a picture file (the first frame of an animation), upright, to uint8 RGB (size, size, 3).

    Raises CorruptPicture. Pictures above ``MAX_PIXELS`` are refused before they are decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise CorruptPicture(f"{pixels} pixels, at most {MAX_PIXELS} are accepted")
            upright = ImageOps.exif_transpose(image)
            return square(_rgb(upright), size)
    except CorruptPicture:
        raise
    except UnidentifiedImageError as error:  # whose text names the buffer in memory, not the file
        raise CorruptPicture(f"not an image in one of the formats {', '.join(FORMATS)}") from error
    except (
        Exception
    ) as error:  # decoders of untrusted bytes raise whatever they meet (OSError, SyntaxError, struct.error)
        raise CorruptPicture(str(error).replace("\n", " ") or type(error).__name__) from error


def square(image: Image.Image, size: int) -> np.ndarray:
    """The largest centred square of an RGB image, resized (bilinear, antialiased) to uint8 (size, size, 3)."""
    if image.size == (size, size):
        return np.asarray(image)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def resize_all(pictures: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, H, W) grey or (N, H, W, 3) RGB -> uint8 RGB (N, size, size, 3), grey repeated."""
    resized = np.empty((len(pictures), size, size, 3), np.uint8)
    for row, picture in enumerate(pictures):
        resized[row] = square(Image.fromarray(picture).convert("RGB"), size)
    return resized


def blocks_of(*parts: np.ndarray) -> Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """The ``blocks`` of a ``Source`` whose pictures are arrays one after the other, (N, H, W) or (N, H, W, 3) uint8."""

    def blocks(size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        row = 0
        for pictures in parts:
            for start in range(0, len(pictures), 1000):
                block = pictures[start : start + 1000]
                yield np.arange(row, row + len(block)), resize_all(block, size)
                row += len(block)

    return blocks


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # PIL clips 16-bit grey at 255 instead of scaling it, which would turn most of it white.
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
