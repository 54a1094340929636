"""One image: from file content or array to a square uint8 RGB array."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kdengine.errors import DataError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
DROPPED = "dropped"
GROUNDS = ("white", "black", DROPPED)
"""What transparent parts are laid on; "dropped" takes the colours that a file keeps beneath them."""
MAX_PIXELS = 89_478_485
MAX_FREE_PIXELS = 1_000_000_000
MAX_PIXELS_PER_BYTE = 256

_BIG_PIXELS = 16_000_000
# Each holds some hundred megabytes while it is decoded.
_one_big = threading.Lock()


class CorruptImage(Exception):
    """A file that is not an image that can be read; the text says why."""


class PixelBudget:
    """Stops a source whose few bytes would unpack to hours of pixels; shared by the threads that decode it.

    Args:
        name: what messages call the source.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._pixels = 0
        self._bytes = 0
        self._lock = threading.Lock()

    def spend(self, image: Image.Image, content: bytes) -> None:
        """Counts an image that is about to be decoded. Raises DataError when all so far are too many for their size."""
        with self._lock:
            self._pixels += image.width * image.height
            self._bytes += len(content)
            if self._pixels > MAX_FREE_PIXELS and self._pixels > MAX_PIXELS_PER_BYTE * self._bytes:
                raise DataError(
                    f"the images of {self._name} unpack to more than {MAX_FREE_PIXELS // 10**6} megapixels, over "
                    f"{MAX_PIXELS_PER_BYTE} for each byte, like a bomb; reduce them before packing"
                )


def open_image(content: bytes) -> Image.Image:
    """Reads the head of an image file; its pixels come with `decode`.

    Raises CorruptImage. Images above ``MAX_PIXELS`` are refused here, before they are decoded.
    """
    with _as_corrupt():
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise CorruptImage(f"{pixels} pixels, at most {MAX_PIXELS} are accepted")
        return image


def decode(image: Image.Image, size: int, ground: str = DROPPED) -> np.ndarray:
    """Decodes an image that was opened (the first frame of an animation), upright, to uint8 RGB (size, size, 3).

    ``ground`` is one of `GROUNDS`, for transparent parts. Raises CorruptImage.
    """
    alone = _one_big if image.width * image.height > _BIG_PIXELS else nullcontext()
    with _as_corrupt(), alone, image:
        return square(_rgb(ImageOps.exif_transpose(image), ground), size)


@contextmanager
def _as_corrupt() -> Iterator[None]:
    try:
        yield
    except (CorruptImage, MemoryError):
        raise
    except UnidentifiedImageError as error:  # whose text names the buffer in memory, not the file
        raise CorruptImage(f"not an image in one of the formats {', '.join(FORMATS)}") from error
    except (
        Exception
    ) as error:  # decoders of untrusted bytes raise whatever they meet (OSError, SyntaxError, struct.error)
        raise CorruptImage(str(error).replace("\n", " ") or type(error).__name__) from error


def square(image: Image.Image, size: int) -> np.ndarray:
    """The largest centred square of an RGB image, resized (bilinear, antialiased) to uint8 (size, size, 3)."""
    if image.size == (size, size):
        return np.asarray(image)
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def resize_all(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, H, W) grey or (N, H, W, 3) RGB -> uint8 RGB (N, size, size, 3), grey repeated."""
    resized = np.empty((len(images), size, size, 3), np.uint8)
    for row, image in enumerate(images):
        resized[row] = square(Image.fromarray(image).convert("RGB"), size)
    return resized


def blocks_of(*parts: np.ndarray) -> Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]]:
    """The ``blocks`` of a ``Source`` whose images are arrays one after the other, (N, H, W) or (N, H, W, 3) uint8."""

    def blocks(size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        row = 0
        for images in parts:
            for start in range(0, len(images), 1000):
                block = images[start : start + 1000]
                yield np.arange(row, row + len(block)), resize_all(block, size)
                row += len(block)

    return blocks


def can_be_transparent(image: Image.Image) -> bool:
    """Whether an image has a channel for it, or a colour that stands for it."""
    return "A" in image.getbands() or "transparency" in image.info


def transparent(image: Image.Image) -> bool:
    """Whether any part of an image that was opened is transparent; decodes those that have a channel for it.

    Raises CorruptImage.
    """
    with _as_corrupt():
        if not can_be_transparent(image):
            return False
        # A large image is not held twice where it has the channel.
        channel = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
        lowest, _ = channel.getextrema()
        return float(lowest) < 255  # type: ignore[arg-type]


def lay(image: Image.Image, ground: str) -> Image.Image:
    """An image in RGB, its transparent parts on white or black; for `DROPPED` in the colours that the file keeps."""
    if ground != DROPPED and can_be_transparent(image):
        layered = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layered.size, ground), layered)
    return image.convert("RGB")


def _rgb(image: Image.Image, ground: str) -> Image.Image:
    if image.mode == "F":
        raise CorruptImage("its pixels are floating-point numbers of no known range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        # PIL clips 16-bit grey at 255 instead of scaling it, which would turn most of it white.
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return lay(image, ground)
