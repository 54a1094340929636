"""Gains with their intervals as an SVG drawing for a paper: black on white, one line an arm, no script."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from kdengine.figures.comparison import HELPS, HURTS

ROW, TOP, BOTTOM = 26, 14, 46
LEFT_EACH, PLOT, RIGHT = 7.0, 320, 210
"""Widths in px: of a letter of an arm's name, of the axis, of the numbers at the right."""

COLOURS = {"helps": HELPS, "hurts": HURTS}
PLAIN = "#4a4f57"


def forest(arms: Sequence[dict[str, Any]], to: str) -> str:
    """The drawing.

    Args:
        arms: each with name, mean, low, high, n and verdict, in points; an infinite interval is left out.
        to: what the differences are to.
    """
    left = 20 + LEFT_EACH * max([len(arm["name"]) for arm in arms], default=4)
    width, height = left + PLOT + RIGHT, TOP + ROW * max(1, len(arms)) + BOTTOM
    low, high = _range(arms)

    def x(value: float) -> float:
        return left + PLOT * (value - low) / (high - low)

    floor = TOP + ROW * max(1, len(arms))
    parts = [_line(x(0), TOP, x(0), floor, "#9aa1ab", "4 3"), _line(left, floor, left + PLOT, floor, "#9aa1ab")]
    for tick in _ticks(low, high):
        parts += [
            _line(x(tick), floor, x(tick), floor + 4, "#9aa1ab"),
            _text(x(tick), floor + 18, f"{tick:g}", "middle"),
        ]
    parts.append(_text(left + PLOT / 2, floor + 38, f"test accuracy minus {to} (points)", "middle"))
    for number, arm in enumerate(arms):
        parts += _arm(arm, TOP + ROW * (number + 0.5), left, x)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#1c2430">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _arm(arm: dict[str, Any], y: float, left: float, x: Any) -> list[str]:
    colour = COLOURS.get(arm["verdict"], PLAIN)
    known = math.isfinite(arm["low"]) and math.isfinite(arm["high"])
    said = f"{arm['mean']:+.2f}" + (f" [{arm['low']:+.2f}, {arm['high']:+.2f}]" if known else "") + f", n = {arm['n']}"
    interval = [_line(x(arm["low"]), y, x(arm["high"]), y, colour, width=2)] if known else []
    return [
        _text(left - 12, y + 4, arm["name"], "end"),
        *interval,
        f'<circle cx="{x(arm["mean"]):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>',
        _text(left + PLOT + 14, y + 4, said, "start"),
    ]


def _range(arms: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """What the axis spans: all intervals and zero, with a margin."""
    values = [value for arm in arms for value in (arm["mean"], arm["low"], arm["high"]) if math.isfinite(value)]
    low, high = min([0.0, *values]), max([0.0, *values])
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range, four to nine of them."""
    rough = (high - low) / 6
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "", width: float = 1) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dashed}/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'
