"""Images and their maps as HTML tiles: they wrap, keep their size, can be clicked, and hold the values behind them.

Looks are in app/assets/style/inspect.css, clicks in app/assets/inspect_tiles.js. A map's values travel beside it as 16
bit numbers between its lowest and its highest, so that a page can show the one under the pointer.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape

import numpy as np

from kdengine.figures.images import DIVERGING, SEQUENTIAL, coloured, data_url, palette
from kdengine.figures.map_grid import Column
from kdengine.figures.verdicts import MARKS, WORDS, Verdict

STEPS = 65535
"""What the highest value of a map is sent as."""


@dataclass(frozen=True, eq=False)
class Tiled:
    """What there is to draw of one run.

    Attributes:
        pixels: uint8 (N, S, S, 3).
        columns: maps of those N images; without any, the images stand side by side as cards.
        labels: N classes.
        verdicts: of each image, or [].
        notes: N texts of further lines, or [].
        called: the run, for the enlarged tile.
    """

    pixels: np.ndarray
    columns: list[Column]
    labels: list[str]
    verdicts: list[list[Verdict]]
    notes: list[str] = field(default_factory=list)
    called: str = ""
    across: int = 0
    """Columns to make room for, where another grid beside this one has more of them."""


def draw(tiled: Tiled) -> str:
    """The tiles as HTML."""
    count = len(tiled.pixels)
    if not tiled.columns:
        cards = "".join(f'<div class="kd-tile-card">{_image(tiled, n)}{_said(tiled, n)}</div>' for n in range(count))
        legend = _legend(tiled)
        return f'{legend}<div class="kd-tiles kd-cards" data-called="{escape(tiled.called)}">{cards}</div>'
    rows = "".join(_row(tiled, number) for number in range(count))
    tiles = 1 + max(tiled.across, len(tiled.columns))
    return (
        f'<div class="kd-tiles kd-rows" data-called="{escape(tiled.called)}" style="--tiles:{tiles}">'
        f"{_head(tiled)}{rows}</div>"
    )


def _head(tiled: Tiled) -> str:
    cells = "".join(
        f'<div class="kd-tile-title" title="{escape(one.title)}"><span>{escape(one.title)}</span>{_colour_bar(one)}'
        "</div>"
        for one in tiled.columns
    )
    image = '<div class="kd-tile-title"><span>image</span></div>'
    return f'<div class="kd-tile-head"><div>{_legend(tiled)}</div>{image}{cells}</div>'


def _legend(tiled: Tiled) -> str:
    """What the letters at the predictions stand for."""
    found = dict.fromkeys(each.who for verdicts in tiled.verdicts for each in verdicts)
    words = "".join(f'<span><em class="{who}">{who[0].upper()}</em> {who}</span>' for who in found)
    return f'<div class="kd-legend">{words}</div>' if found else ""


def _colour_bar(one: Column) -> str:
    tip = f"{one.ends[0]} to {one.ends[1]}; scale of {one.note}"
    low, high = ("−", "+") if one.diverging else one.ends
    middle = "<i>0</i>" if one.diverging else ""
    return (
        f'<img class="kd-colours" src="{_colours(one.diverging)}" alt="{escape(tip)}" title="{escape(tip)}">'
        f'<span class="kd-ends"><i>{escape(low)}</i>{middle}<i>{escape(high)}</i></span>'
    )


@lru_cache
def _colours(diverging: bool) -> str:
    return data_url(palette(DIVERGING if diverging else SEQUENTIAL)[None])


def _row(tiled: Tiled, number: int) -> str:
    maps = "".join(_map(tiled, one, number) for one in tiled.columns)
    shown = f"--image:url({data_url(tiled.pixels[number])})"
    said, image = _said(tiled, number), _image(tiled, number)
    return f'<div class="kd-tile-row" data-image="{number}" style="{shown}">{said}{image}{maps}</div>'


def _said(tiled: Tiled, number: int) -> str:
    """Class, predictions and further lines of an image."""
    lines = [f'<b title="{escape(tiled.labels[number])}">{escape(tiled.labels[number])}</b>']
    lines += [_verdict(each) for each in (tiled.verdicts[number] if tiled.verdicts else [])]
    notes = tiled.notes[number].splitlines() if tiled.notes else []
    lines += [f'<span class="kd-note" title="{escape(line)}">{escape(line)}</span>' for line in notes]
    return f'<div class="kd-said">{"".join(lines)}</div>'


def _verdict(one: Verdict) -> str:
    state = WORDS[one.right]
    said = f"{one.who}: {one.predicted} {100 * one.confidence:.1f} %, {state}"
    return (
        f'<span class="kd-verdict {state}" title="{escape(said)}"><i role="img" aria-label="{state}">{MARKS[one.right]}'
        f'</i><em class="{one.who}">{one.who[0].upper()}</em><span>{escape(one.predicted)}</span>'
        f"<small>{100 * one.confidence:.0f} %</small></span>"
    )


def _image(tiled: Tiled, number: int) -> str:
    verdicts = tiled.verdicts[number] if tiled.verdicts else []
    state = WORDS[verdicts[0].right] if verdicts else "unknown"
    label = ", ".join([tiled.labels[number], *(f"{each.words}" for each in verdicts)])
    own = f"--image:url({data_url(tiled.pixels[number])})" if not tiled.columns else ""
    return (
        f'<button type="button" class="kd-tile kd-image {state}" data-image="{number}" data-map="" style="{own}" '
        f'tabindex="{0 if number == 0 else -1}" data-title="image" aria-label="Enlarge {escape(label)}">'
        f"{_badge(state)}</button>"
    )


def _badge(state: str) -> str:
    marks = {"right": "✓", "wrong": "✗"}
    return f'<span class="kd-badge-{state}" aria-hidden="true">{marks[state]}</span>' if state in marks else ""


def _map(tiled: Tiled, one: Column, number: int) -> str:
    values = np.asarray(one.values[number], np.float64)
    low, high = float(one.low[number]), float(one.high[number])
    url = data_url(coloured(values, low, high, DIVERGING if one.diverging else SEQUENTIAL))
    least, most, sent = packed(values)
    found = f"{least:.3g} to {most:.3g}, mean {float(np.mean(values)):.3g}"
    tip = f"{one.title}: {found} on {values.shape[0]} x {values.shape[1]}"
    return (
        f'<button type="button" class="kd-tile" tabindex="-1" data-image="{number}" data-map="{escape(one.name)}" '
        f'data-shape="{values.shape[0]}x{values.shape[1]}" data-range="{least!r},{most!r}" data-values="{sent}" '
        f'data-title="{escape(one.title)}" title="{escape(tip)}" '
        f'aria-label="Enlarge {escape(one.title)} of {escape(tiled.labels[number])}">'
        f'<img class="kd-map" src="{url}" alt="">{_gates(one, number)}</button>'
    )


def _gates(one: Column, number: int) -> str:
    """Profiles along the left and the upper border, a quarter of the tile where the gate is 1."""
    if one.rows is None or one.columns is None:
        return ""
    lines = []
    for values, upright in ((one.rows[number], True), (one.columns[number], False)):
        along = (np.arange(len(values)) + 0.5) * 100 / len(values)
        into = np.clip(values, 0, 1) * 25
        pairs = zip(into, along, strict=True) if upright else zip(along, into, strict=True)
        lines.append(f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)}"/>')
    return f'<svg class="kd-gates" viewBox="0 0 100 100" preserveAspectRatio="none">{"".join(lines)}</svg>'


def packed(values: np.ndarray) -> tuple[float, float, str]:
    """Lowest, highest, and all values as base64 of 16 bit numbers between these two, row by row."""
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    shares = np.nan_to_num((values - least) / max(most - least, 1e-30))
    sent = (shares * STEPS).round().astype("<u2")
    return least, most, base64.b64encode(sent.tobytes()).decode()
