"""Maps over images as one SVG: a row an image, a column a map. It scales, it prints, and a browser draws it at once.

The map of a tile has the class ``kd-map``: a page that sets the opacity of that class fades all maps over the images.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

import numpy as np

from kdengine.figures.images import DIVERGING, SEQUENTIAL, coloured, data_url, palette

GAP, HEAD = 6, 58
SIDE, SIDE_WITH_NUMBERS = 100, 196
LETTER = 6.3
"""Pixels: beside the images their labels, wider where numbers stand there too; a letter."""
FLAT = 0.02
"""A map that spans less than this share of its largest value is flat: it is not stretched over all colours."""
SMALLEST, LARGEST, WIDE = 88, 112, 1120
"""Tiles are as large as fits a page, within bounds; pixels."""

OVER_ALL = ("mask", "importance", "channel", "max_pool", "stride")
"""Words in the name of a map whose values can be compared from image to image."""


@dataclass(frozen=True, eq=False)
class Column:
    """One map of every image.

    Attributes:
        name: of the array.
        title: above it.
        values: (N, H, W).
        low, high: (N,), what is drawn in the first and the last colour in each image.
        note: whose scale it is, beneath the title.
        ends: what stands at both ends of the colour bar.
        diverging: differences, zero in the middle.
        rows, columns: profiles (N, H), (N, W) in 0..1 drawn along the left and the upper border; None for none.
    """

    name: str
    title: str
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    note: str
    ends: tuple[str, str] = ("low", "high")
    diverging: bool = False
    rows: np.ndarray | None = None
    columns: np.ndarray | None = None


def column(name: str, values: np.ndarray, other: np.ndarray | None = None) -> Column:
    """A column with the scale that befits its name: one for all images, or one for each image.

    Args:
        name: of the array; `OVER_ALL` decides.
        values: (N, H, W).
        other: the same map of another run, which shares the scale; None for a scale of its own.
    """
    both = [each for each in (values, other) if each is not None]
    if any(word in name for word in OVER_ALL):
        low = min(float(each.min(initial=np.inf)) for each in both)
        high = max(float(each.max(initial=-np.inf)) for each in both)
        bounds = _widened(np.full(len(values), low), np.full(len(values), high))
        return Column(name, title_of(name), values, *bounds, note="all images", ends=_numbers(low, high))
    flat = [each.reshape(len(each), -1) for each in both]
    bounds = _widened(np.min([each.min(1) for each in flat], 0), np.max([each.max(1) for each in flat], 0))
    return Column(name, title_of(name), values, *bounds, note="each image" if other is None else "both runs")


def _widened(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the colours, no nearer to each other than what is worth telling apart."""
    least = FLAT * np.maximum(np.abs(low), np.abs(high))
    more = np.maximum(0.0, least - (high - low)) / 2
    return low - more, high + more


def _numbers(low: float, high: float) -> tuple[str, str]:
    digits = 2 if high - low >= 0.02 else 4
    return f"{low:.{digits}f}", f"{high:.{digits}f}"


def difference(name: str, values: np.ndarray, other: np.ndarray) -> Column:
    """What the first has more (red) or less (blue) than the second, each map as a share of its own maximum."""
    gap = _shares(values) - _shares(other)
    reach = np.maximum(np.abs(gap).reshape(len(gap), -1).max(1), FLAT)
    ends = ("second has more", "first has more")
    return Column(name, title_of(name), gap, -reach, reach, note="difference", ends=ends, diverging=True)


def _shares(values: np.ndarray) -> np.ndarray:
    top = values.reshape(len(values), -1).max(1)
    found: np.ndarray = values / np.maximum(top, 1e-12)[:, None, None]
    return found


def title_of(name: str) -> str:
    """``student_hard_mask_2`` -> "student: hard mask 2"."""
    who = re.match(r"(student|teacher)_(.+)", name)
    if who:
        rest = who.group(2).replace("_", " ")
        return f"{who.group(1)}: {'stage ' + rest if rest.isdigit() else rest}"
    return name.replace("_", " ")


def draw(
    pixels: np.ndarray, columns: list[Column], labels: list[str], notes: list[str] | None = None, *, key: str = "k"
) -> str:
    """The grid as an SVG document.

    Args:
        pixels: uint8 (N, S, S, 3).
        columns: maps of those N images.
        labels: N texts beneath the images.
        notes: N second lines.
        key: letters that keep the parts of this grid apart from those of others on a page.
    """
    page = _Page.of(len(pixels), len(columns), SIDE_WITH_NUMBERS if any(notes or ()) else SIDE)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {page.width} {page.height}" width="{page.width}" '
        f'height="{page.height}" font-family="system-ui, sans-serif" font-size="12" fill="currentColor" '
        'class="kd-grid" role="img"><defs>'
    ]
    for number, image in enumerate(pixels):
        parts.append(f'<image id="{key}{number}" href="{data_url(image)}" {page.size} style="{_CRISP}"/>')
    parts.append("</defs>")
    for left in page.lefts:
        parts.append(_text(left + page.side + page.tile / 2, 14, "image", page.tile))
        for place, one in enumerate(columns, 1):
            x = left + page.side + place * (page.tile + GAP) + page.tile / 2
            parts += [_text(x, 14, one.title, page.tile), *_colour_bar(one, x - page.tile / 2, page.tile)]
    for number in range(len(pixels)):
        left, y = page.place(number)
        parts.append(_label(left, y, labels[number], notes[number] if notes else "", page))
        parts.append(f'<use href="#{key}{number}" x="{left + page.side}" y="{y}"/>')
        for place, one in enumerate(columns, 1):
            parts.append(_tile(one, number, left + page.side + place * (page.tile + GAP), y, key, page))
    parts.append("</svg>")
    return "".join(parts)


def _colour_bar(one: Column, x: float, width: int) -> list[str]:
    """What the colours stand for, beneath a column's title: its scale, and the two ends or zero in the middle."""
    url = data_url(palette(DIVERGING if one.diverging else SEQUENTIAL)[None])
    tip = f"<title>{escape(' to '.join(one.ends))}, {escape(one.note)}</title>"
    bar = f'<image href="{url}" x="{x}" y="20" width="{width}" height="8" preserveAspectRatio="none"/>'
    words = [("start", x, "−"), ("middle", x + width / 2, "0"), ("end", x + width, "+")]
    if not one.diverging:
        words = [("start", x, one.ends[0]), ("end", x + width, one.ends[1])]
    return [f"<g>{tip}{bar}", *(f'<text x="{at}" y="40" text-anchor="{side}">{escape(word)}</text>'
                                for side, at, word in words), "</g>"]  # fmt: skip


@dataclass(frozen=True)
class _Page:
    """Where the rows stand: one beneath the other, or in two blocks side by side where there are few columns."""

    tile: int
    blocks: int
    rows: int
    block: int
    side: int

    @classmethod
    def of(cls, count: int, columns: int, side: int) -> _Page:
        smallest = side + (columns + 1) * (SMALLEST + GAP)
        blocks = 2 if 2 * smallest + 4 * GAP <= WIDE and count > 3 else 1
        fitting = (WIDE // blocks - side) // (columns + 1) - GAP
        tile = min(LARGEST, max(SMALLEST, fitting))
        return cls(tile, blocks, -(-count // blocks), side + (columns + 1) * (tile + GAP) + 4 * GAP, side)

    @property
    def width(self) -> int:
        return self.blocks * self.block

    @property
    def height(self) -> int:
        return HEAD + self.rows * (self.tile + GAP)

    @property
    def size(self) -> str:
        return f'width="{self.tile}" height="{self.tile}" preserveAspectRatio="none"'

    @property
    def lefts(self) -> list[int]:
        return [block * self.block for block in range(self.blocks)]

    def place(self, number: int) -> tuple[int, int]:
        """Left and upper border of an image's row."""
        block, row = divmod(number, self.rows)
        return block * self.block, HEAD + row * (self.tile + GAP)


_CRISP = "image-rendering:pixelated"


def _tile(one: Column, number: int, x: float, y: float, key: str, page: _Page) -> str:
    values = one.values[number]
    low, high = float(one.low[number]), float(one.high[number])
    url = data_url(coloured(values, low, high, DIVERGING if one.diverging else SEQUENTIAL))
    found = f"{float(np.min(values)):.3g} to {float(np.max(values)):.3g}, mean {float(np.mean(values)):.3g}"
    tip = f"<title>{escape(one.title)}: {found} on {values.shape[0]} x {values.shape[1]}</title>"
    drawn = (
        f'<g>{tip}<use href="#{key}{number}" x="{x}" y="{y}"/>'
        f'<image class="kd-map" href="{url}" x="{x}" y="{y}" {page.size} style="{_CRISP}"/>'
    )
    if one.rows is not None and one.columns is not None:
        drawn += _profile(one.rows[number], x, y, page.tile, upright=True)
        drawn += _profile(one.columns[number], x, y, page.tile, upright=False)
    return drawn + "</g>"


def _profile(values: np.ndarray, x: float, y: float, side: int, *, upright: bool) -> str:
    """A line along the left or upper border; it reaches a quarter into the tile where the gate is 1."""
    along = (np.arange(len(values)) + 0.5) * side / len(values)
    into = np.clip(values, 0, 1) * side / 4
    places = zip(into, along, strict=True) if upright else zip(along, into, strict=True)
    points = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in places)
    return f'<polyline points="{points}" fill="none" stroke="#ffffff" stroke-width="1.5" stroke-opacity="0.9"/>'


def _text(x: float, y: float, words: str, width: int, more: str = "") -> str:
    most = int(width / LETTER)
    short = words if len(words) <= most else words[: most - 1] + "…"
    tip = f"<title>{escape(words)}</title>" if short != words else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle" {more}>{tip}{escape(short)}</text>'


def _label(x: float, y: float, label: str, note: str, page: _Page) -> str:
    most = int((page.side - GAP) / LETTER)
    lines = [f'<text x="{x}" y="{y + 14:.0f}" font-weight="600">{_cut(label, most)}</text>']
    lines += [
        f'<text x="{x}" y="{y + 29 + 14 * row:.0f}">{_cut(line, most)}</text>'
        for row, line in enumerate(note.splitlines()[: (page.tile - 16) // 14])
    ]
    return f"<g><title>{escape(f'{label}{chr(10)}{note}'.strip())}</title>{''.join(lines)}</g>"


def _cut(words: str, most: int) -> str:
    return escape(words if len(words) <= most else words[: most - 1] + "…")


def image_list(pixels: np.ndarray, captions: list[str], *, key: str = "l", across: int = 6) -> str:
    """Images side by side with lines of text beneath, as an SVG document.

    Args:
        pixels: uint8 (N, S, S, 3).
        captions: N texts of up to three lines, the first one the heading.
        key: as in `draw`.
        across: images in a row.
    """
    cell, side = 178, 96
    rows = -(-len(pixels) // across)
    width, height = cell * min(across, max(1, len(pixels))), rows * (side + 62)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor" class="kd-grid" role="img" id="{key}">'
    ]
    for number, image in enumerate(pixels):
        x, y = cell * (number % across), (side + 62) * (number // across)
        parts.append(
            f'<image href="{data_url(image)}" x="{x}" y="{y}" width="{side}" height="{side}" style="{_CRISP}"/>'
        )
        parts += [
            f'<text x="{x}" y="{y + side + 15 * (row + 1)}" font-weight="{400 if row else 600}">{_cut(line, 27)}</text>'
            for row, line in enumerate(captions[number].splitlines()[:3])
        ]
    return "".join([*parts, "</svg>"])


def overlay(
    pixels: np.ndarray, values: np.ndarray | None, *, label: str = "image", side: int = 180, share: float = 0.55
) -> str:
    """One image (S, S, 3) with its map (H, W) over it, smoothly, as an SVG document; None draws the image alone.

    ``label`` says what it is to who cannot see it.
    """
    size = f'width="{side}" height="{side}" preserveAspectRatio="none"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" {size} role="img" '
        f'aria-label="{escape(label)}">'
        f'<image href="{data_url(pixels)}" {size}/>'
    ]
    if values is not None:
        url = data_url(coloured(values, float(values.min()), float(values.max())))
        parts.append(f'<image href="{url}" {size} opacity="{share}"/>')
    return "".join([*parts, "</svg>"])
