"""What does not differ is not drawn as if it did."""

from __future__ import annotations

import re

import numpy as np
import pytest

from app.pages.inspect.display import other_epoch as _other_epoch
from app.pages.inspect.display import sentence as _sentence
from app.pages.inspect.selection import Selection as _Selection
from kdengine.figures import map_grid
from kdengine.figures.images import DIVERGING, SEQUENTIAL, coloured, palette
from kdengine.figures.seen import DIFFERENCE, SHARED, SIDE_BY_SIDE, Seen

PIXELS = np.zeros((1, 8, 8, 3), np.uint8)


def test_a_difference_of_zero_is_the_middle_of_the_colours() -> None:
    same = np.random.default_rng(0).random((1, 4, 4))
    one = map_grid.difference("student_1", same, same)
    drawn = coloured(one.values[0], float(one.low[0]), float(one.high[0]), DIVERGING)
    assert np.array_equal(drawn, np.broadcast_to(palette(DIVERGING)[128], drawn.shape))
    assert np.array_equal(coloured(np.zeros((2, 2)), 0, 0, DIVERGING)[0, 0], palette(DIVERGING)[128])


def test_a_small_difference_is_not_stretched_to_the_strongest_colour() -> None:
    values = np.ones((1, 2, 2))
    one = map_grid.difference("student_1", values, values * np.array([[1, 1], [1, 0.999]]))
    drawn = coloured(one.values[0], float(one.low[0]), float(one.high[0]), DIVERGING).astype(int)
    assert np.abs(drawn - palette(DIVERGING)[128]).max() < 40


@pytest.mark.parametrize("name", ["student_1", "student_mask_1"])
def test_a_flat_map_keeps_the_middle_of_the_scale(name: str) -> None:
    flat = 0.5 + 1e-5 * np.arange(4.0).reshape(1, 2, 2)
    one = map_grid.column(name, flat)
    drawn = coloured(flat[0], float(one.low[0]), float(one.high[0]), SEQUENTIAL).astype(int)
    assert np.abs(drawn - palette(SEQUENTIAL)[128]).max() < 6
    steep = map_grid.column(name, np.array([[[0.0, 1.0]]]))
    assert (float(steep.low[0]), float(steep.high[0])) == (0, 1)


def test_numbers_beside_an_image_are_whole() -> None:
    column = map_grid.column("student_1", np.random.default_rng(0).random((1, 4, 4)))
    notes = ["self weight student: 0.12\nnode weight: 0.53\nrelation weight: 0.41\nentropy teacher: 2.30"]
    svg = map_grid.draw(PIXELS, [column], ["image 1"], notes)
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert all(line in shown for line in notes[0].splitlines())
    assert "class with a very long name" in map_grid.draw(PIXELS, [column], ["class with a very long name"])


def asked(**changes: object) -> _Selection:
    fields = dict.fromkeys(("run", "other", "what", "classes", "files", "stage", "graph"), None) | {
        "epoch": 5, "best": False, "source": "recorded", "count": 16, "arrangement": SIDE_BY_SIDE, "scale": SHARED,
        "threshold": 0.25, "run": "a", "what": "attention",
    }  # fmt: skip
    return _Selection(**(fields | changes))  # type: ignore[arg-type]


def test_another_epoch_than_the_one_asked_for_is_named() -> None:
    offer = {"recorded": ["attention"], "epochs": [0, 1, 6], "weights": [6]}
    request, note = asked().request(offer)
    assert request["epoch"] == 6 and note.startswith("Epoch 5 was not recorded") and "epoch 6" in note
    assert asked(epoch=1).request(offer)[1] == ""
    request, note = asked(what="gradcam", epoch=1).request(offer)
    assert request["epoch"] == 6 and "were not kept" in note


def test_the_second_runs_own_epoch_is_named_and_a_difference_has_its_own_words() -> None:
    seen = [Seen("one", {}, PIXELS, np.zeros(1), (), epoch=epoch) for epoch in (6, 4)]
    answer = {"seen": seen, "kind": "maps", "title": "Attention", "sentence": "Brighter = more."}
    assert "showing its epoch 4" in _other_epoch(answer, {"epoch": 6})
    assert _other_epoch(answer | {"seen": seen[:1]}, {"epoch": 6}) == ""
    assert _sentence(answer, asked()) == "Brighter = more."
    assert "Brighter" not in _sentence(answer, asked(arrangement=DIFFERENCE))
