"""Images and maps as small PNGs inside a URL, in perceptually uniform colours that are safe for the colour-blind."""

from __future__ import annotations

import base64
import io
from functools import lru_cache

import numpy as np
from PIL import Image

SEQUENTIAL, DIVERGING = "Viridis", "RdBu_r"


def data_url(pixels: np.ndarray) -> str:
    """uint8 (H, W, 3) as a PNG inside a URL."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def coloured(values: np.ndarray, low: float, high: float, scale: str = SEQUENTIAL) -> np.ndarray:
    """Numbers (...) as colours uint8 (..., 3): ``low`` and what is below is the first colour, ``high`` the last.

    Everything where low equals high is the middle: nothing stands out. What is not a number is the first.
    """
    span = high - low
    values = np.asarray(values, np.float64)
    position = (values - low) / span if span > 0 else np.where(np.isnan(values), 0.0, 0.5)
    index = np.nan_to_num(np.clip(position, 0, 1) * 255).round().astype(np.intp)
    found: np.ndarray = palette(scale)[index]
    return found


@lru_cache
def palette(scale: str) -> np.ndarray:
    """256 colours, uint8 (256, 3), of one of Plotly's scales."""
    from plotly import colors

    samples = colors.sample_colorscale(scale, np.linspace(0, 1, 256).tolist(), colortype="tuple")
    return (255 * np.asarray(samples)).round().astype(np.uint8)


def framed(pixels: np.ndarray, colour: str, width: int = 2) -> np.ndarray:
    """An image (H, W, 3) at least 32 px wide with a frame of a colour ("#rrggbb") around it."""
    times = max(1, -(-32 // pixels.shape[1]))
    large = pixels.repeat(times, 0).repeat(times, 1)
    tone = tuple(int(colour[start : start + 2], 16) for start in (1, 3, 5))
    frame = np.empty((large.shape[0] + 2 * width, large.shape[1] + 2 * width, 3), np.uint8)
    frame[:] = tone
    frame[width:-width, width:-width] = large
    return frame


def crossed(pixels: np.ndarray) -> np.ndarray:
    """The same image (H, W, 3), at least 32 px wide, with a white cross on a red square in its upper right corner."""
    found = pixels.copy()
    side = max(9, pixels.shape[1] // 4)
    square = found[:side, -side:]
    square[:] = (192, 39, 26)
    inner = np.arange(2, side - 2)
    for columns in (inner, side - 1 - inner):
        square[inner, columns] = 255
    return found
