"""Tiles of a page: what is said at each image, the values behind each map, one scale for two runs."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from kdengine.figures.inspection import draw
from kdengine.figures.matrices import confusion
from kdengine.figures.seen import DIFFERENCE, OWN, SHARED, Seen, Wishes
from kdengine.figures.tiles import STEPS, packed

CLASSES = ("cat", "dog", "<b>fish</b>")
RNG = np.random.default_rng(5)
PAGE = Wishes(for_page=True)


def seen(count: int = 4, label: str = "one", predictions: bool = True, **arrays: np.ndarray) -> Seen:
    said = {
        "student": np.array([0, 2, 2, 1])[:count], "student_confidence": np.array([0.9, 0.5, 0.7, 0.6])[:count],
        "teacher": np.arange(count) % 3, "teacher_confidence": np.full(count, 0.8),
    }  # fmt: skip
    pixels = RNG.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    labels = np.array([0, 1, 2, -1])[:count]
    return Seen(label, arrays, pixels, labels, CLASSES, predictions=said if predictions else {})


def sent(html: str) -> list[np.ndarray]:
    """The values that travel with each map."""
    found = []
    for shape, ends, values in re.findall(r'data-shape="(\S+)" data-range="(\S+)" data-values="([^"]+)"', html):
        low, high = map(float, ends.split(","))
        steps = np.frombuffer(base64.b64decode(values), "<u2").reshape([int(side) for side in shape.split("x")])
        found.append(low + (high - low) * steps / STEPS)
    return found


def corner(url: str) -> tuple[int, ...]:
    """The colour of an image's upper right corner."""
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return tuple(image.getpixel((image.width - 1, 0)))  # type: ignore[arg-type]


def test_right_and_wrong_are_told_by_words_and_marks() -> None:
    html = draw("maps", [seen(student_1=RNG.random((4, 4, 4)))], PAGE)[0].html
    rows = html.split('class="kd-tile-row"')[1:]
    assert ["kd-image right" in row for row in rows] == [True, False, True, False]
    assert ["kd-image wrong" in row for row in rows] == [False, True, False, False]
    assert "student: &lt;b&gt;fish&lt;/b&gt; 50.0 %, wrong" in rows[1] and "✗" in rows[1] and "<b>fish" not in html
    assert "student: dog 60.0 %, unknown" in rows[3] and "image 4" in rows[3], "nobody knows its class"
    silent = draw("maps", [seen(predictions=False, student_1=RNG.random((4, 4, 4)))], PAGE)[0].html
    assert "kd-verdict" not in silent and "kd-image unknown" in silent


def test_the_values_behind_a_map_travel_with_it() -> None:
    values = RNG.standard_normal((4, 3, 5))
    for found, wanted in zip(sent(draw("maps", [seen(student_1=values)], PAGE)[0].html), values, strict=True):
        assert found == pytest.approx(wanted, abs=float(np.ptp(wanted)) / STEPS)
    assert packed(np.full((2, 2), 3.0))[:2] == (3.0, 3.0), "a flat map too"


def test_two_runs_are_drawn_on_one_scale_with_room_for_the_same_columns() -> None:
    low, high = np.full((4, 2, 2), 0.2), np.full((4, 2, 2), 0.8)
    low[:, 0, 0], high[:, 1, 1] = 0.0, 1.0
    both = [seen(student_1=low, student_2=low), seen(label="two", student_1=high)]
    shared, own = (draw("maps", both, Wishes(for_page=True, scale=scale)) for scale in (SHARED, OWN))
    assert "both runs" in shared[1].html and "both runs" not in own[1].html
    assert [one.html.count("--tiles:3") for one in shared] == [1, 1]
    images = [re.findall(r'class="kd-map" src="([^"]+)"', each[1].html)[0] for each in (shared, own)]
    assert images[0] != images[1]


def test_a_difference_says_nothing_of_predictions_and_has_zero_in_the_middle() -> None:
    values = RNG.random((4, 2, 2))
    (drawing,) = draw("maps", [seen(student_1=values)] * 2, Wishes(for_page=True, arrangement=DIFFERENCE))
    assert "<i>0</i>" in drawing.html and "kd-verdict" not in drawing.html
    assert all((found == 0).all() for found in sent(drawing.html))


def test_predictions_are_cards_and_count_what_is_right() -> None:
    one = seen()
    arrays = one.predictions
    (drawing,) = draw("tiles", [Seen("one", arrays, one.pixels, one.labels, CLASSES)], PAGE)
    assert drawing.html.count('class="kd-tile-card"') == 4
    assert drawing.note == "Right of 3 images: student 2, teacher 3."
    assert Seen("one", arrays, one.pixels, one.labels, CLASSES).first(2).arrays["student"].tolist() == [0, 2]


def test_the_difference_of_two_matrices_compares_the_same_classes() -> None:
    ours = np.arange(9.0).reshape(3, 3)
    other_order = np.array([2, 0, 1])
    first = Seen(
        "one", {"student": ours, "order": np.arange(3)}, np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0), CLASSES
    )
    theirs = {"student": ours[np.ix_(other_order, other_order)], "order": other_order}
    second = Seen("two", theirs, first.pixels, first.labels, CLASSES)
    (drawing,) = draw("matrices", [first, second], Wishes(arrangement=DIFFERENCE))
    assert np.abs(drawing.figure.data[0].z).max() == 0 and drawing.figure.data[0].zmid == 0
    counts = [
        Seen("one", {"student": np.array(cells)}, first.pixels, first.labels, ("cat", "dog"))
        for cells in ([[3, 1], [0, 2]], [[2, 2], [1, 1]])
    ]
    (drawing,) = draw("matrices", counts, Wishes(arrangement=DIFFERENCE))
    assert drawing.figure.data[0].z.tolist() == [[25, -25], [-50, 50]]


def test_a_confusion_shows_the_classes_that_occur_and_of_many_the_worst() -> None:
    counts = np.zeros((200, 200), np.int64)
    counts[7, 7], counts[7, 150] = 3, 1
    figure = confusion(counts, tuple(f"class {number}" for number in range(200)), "net")
    assert list(figure.data[0].x) == ["class 7", "class 150"] and figure.data[0].z[0].tolist() == [75, 25]
    counts += np.eye(200, dtype=np.int64)
    figure = confusion(counts, tuple(f"class {number}" for number in range(200)), "net")
    assert "60 classes" in figure.layout.xaxis.title.text
    assert len(figure.data[0].x) == 60 and {"class 7", "class 150"} <= set(figure.data[0].x)


def test_a_graph_has_a_legend_of_its_classes() -> None:
    weights = RNG.random((4, 4))
    facts = {f"embedding_student_{name}": np.float32(0.25) for name in ("within", "chance", "self", "entropy")}
    one = seen(embedding_student=weights, **facts)
    figure = draw("graph", [one])[0].figure
    traces = figure.data
    corners = [corner(image.source) for image in figure.layout.images]
    assert [each == (192, 39, 26) for each in corners] == [False, True, False, False], "the wrong one is crossed"
    listed = [trace.name for trace in traces if trace.showlegend is not False]
    assert {"cat", "dog", "unknown class"} <= set(listed) and len(listed) == len(set(listed))
    assert "✗ student: &lt;b&gt;" not in traces[-1].text[1] and "✗ student" in traces[-1].text[1]
