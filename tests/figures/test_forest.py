"""The gains as a drawing for a paper: well-formed, to scale, and it says the numbers."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from kdengine.figures.forest import _ticks, forest


def arm(name: str, mean: float, low: float, high: float, verdict: str = "not decided", n: int = 5) -> dict[str, Any]:
    return {"name": name, "mean": mean, "low": low, "high": high, "verdict": verdict, "n": n}


def drawn(arms: list[dict[str, Any]]) -> ElementTree.Element:
    return ElementTree.fromstring(forest(arms, "the student alone"))


def all_of(figure: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return list(figure.iter(f"{{http://www.w3.org/2000/svg}}{kind}"))


def test_points_and_intervals_lie_to_scale() -> None:
    figure = drawn([arm("kd", 1.0, 0.5, 1.5, "helps"), arm("byot", -2.0, -3.0, -1.0, "hurts")])
    zero = float(all_of(figure, "line")[0].attrib["x1"])
    first, second = (float(point.attrib["cx"]) for point in all_of(figure, "circle"))
    assert first > zero > second
    assert (zero - second) / (first - zero) == pytest.approx(2.0, abs=0.02)
    low, high = [(float(line.attrib["x1"]), float(line.attrib["x2"])) for line in all_of(figure, "line")
                 if line.attrib["stroke-width"] == "2"][1]  # fmt: skip
    assert (high - low) / (first - zero) == pytest.approx(2.0, abs=0.02) and low < second < high
    assert [point.attrib["fill"] for point in all_of(figure, "circle")] == ["#009e73", "#d55e00"]


def test_it_says_the_numbers_and_escapes_names() -> None:
    said = [
        text.text
        for text in all_of(drawn([arm("a <b> & c", 1.0, 0.5, 1.5), arm("one", 0.25, -math.inf, math.inf, n=1)]), "text")
    ]
    assert "a <b> & c" in said and "+1.00 [+0.50, +1.50], n = 5" in said and "+0.25, n = 1" in said
    assert "test accuracy minus the student alone (points)" in said


@pytest.mark.parametrize("arms", [[], [arm("same", 0.0, 0.0, 0.0)]])
def test_nothing_to_draw_is_a_drawing_all_the_same(arms: list[dict[str, Any]]) -> None:
    assert not re.search("nan|inf", forest(arms, "x")) and drawn(arms) is not None


def test_ticks_are_round_numbers() -> None:
    assert _ticks(-1.1, 4.9) == [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    assert _ticks(-0.02, 0.07) == [-0.02, 0.0, 0.02, 0.04, 0.06]
    assert _ticks(-30, 70) == [-20.0, 0.0, 20.0, 40.0, 60.0]
