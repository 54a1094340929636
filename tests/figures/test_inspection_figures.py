"""Drawings of what is seen inside: that they show the arrays they are given, on one scale for two runs."""

from __future__ import annotations

import base64
import io
import re
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from kdengine.figures import map_grid, networks, sample_graphs
from kdengine.figures.document import document
from kdengine.figures.images import DIVERGING, coloured, palette
from kdengine.figures.inspection import DRAWERS, draw
from kdengine.figures.map_panels import stages_of
from kdengine.figures.seen import DIFFERENCE, Seen, Wishes
from kdengine.inspection.panels import PANELS

CLASSES = ("cat", "dog", "<b>fish</b>")
RNG = np.random.default_rng(0)


def seen(count: int = 6, label: str = "one", **arrays: np.ndarray) -> Seen:
    pixels = RNG.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return Seen(label, arrays, pixels, np.arange(count) % 3, CLASSES)


def graph(count: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    weights = np.random.default_rng(seed).random((count, count)) ** 4
    weights /= weights.sum(1, keepdims=True)
    facts = {f"embedding_student_{name}": np.float32(0.25) for name in ("within", "chance", "self", "entropy")}
    return {"embedding_student": weights, **{name: np.asarray(value) for name, value in facts.items()}}


def maps_in(svg: str) -> list[np.ndarray]:
    """The pixels of each map in a grid, as they will be drawn."""
    found = re.findall(r'class="kd-map" href="data:image/png;base64,([^"]+)"', svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in found]


def test_every_kind_of_panel_has_somebody_to_draw_it() -> None:
    assert {panel.kind for panel in PANELS.values()} == set(DRAWERS)


def test_the_palette_is_uniform_from_dark_to_bright() -> None:
    brightness = palette("Viridis") @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(brightness) > -1).all() and brightness[-1] - brightness[0] > 150
    middle = coloured(np.zeros(1), -1, 1, DIVERGING)[0]
    assert (middle > 235).all(), "no difference is white"
    assert np.array_equal(coloured(np.array([np.nan, -9.0]), 0, 1), palette("Viridis")[[0, 0]])


def test_a_grid_draws_what_the_arrays_hold() -> None:
    values = RNG.random((6, 4, 4))
    (drawing,) = draw("maps", [seen(attention_1=values)])
    ET.fromstring(drawing.svg)
    for drawn, array in zip(maps_in(drawing.svg), values, strict=True):
        assert np.array_equal(drawn, coloured(array, array.min(), array.max()))
    assert "&lt;b&gt;fish&lt;/b&gt;" in drawing.svg and "<b>fish" not in drawing.svg


def test_masks_share_a_scale_over_images_and_runs() -> None:
    low, high = np.full((6, 4, 4), 0.2), np.full((6, 4, 4), 0.8)
    low[0, 0, 0] = 0.1
    first, second = draw("maps", [seen(mask_1=low), seen(label="two", mask_1=high)])
    assert np.array_equal(maps_in(first.svg)[3], coloured(low[3], 0.1, 0.8))
    assert np.array_equal(maps_in(second.svg)[3], coloured(high[3], 0.1, 0.8))
    assert "0.10 to 0.80" in first.svg and "0.10 to 0.80" in second.svg


def test_the_difference_of_two_runs_is_red_where_the_first_has_more() -> None:
    one, two = np.zeros((6, 2, 2)), np.zeros((6, 2, 2))
    one[:, 0, 0], two[:, 1, 1] = 1, 1
    (drawing,) = draw("maps", [seen(student_1=one), seen(student_1=two)], Wishes(arrangement=DIFFERENCE))
    image = maps_in(drawing.svg)[0].astype(int)
    red, blue, nothing = image[0, 0], image[1, 1], image[0, 1]
    assert red[0] > red[2] and blue[2] > blue[0] and (nothing > 235).all()
    apart = draw("maps", [seen(student_1=one), seen(teacher_1=two)], Wishes(arrangement=DIFFERENCE))
    assert "no map in common" in apart[0].note


def test_many_maps_are_shown_stage_by_stage() -> None:
    arrays = {f"{what}_{stage}": RNG.random((6, 4, 4)) for stage in (1, 2, 3) for what in ("a", "b", "c")}
    assert stages_of(arrays) == [1, 2, 3] and stages_of({"a_1": arrays["a_1"]}) == []
    assert len(maps_in(draw("maps", [seen(**arrays)])[0].svg)) == 3 * 6
    chosen = draw("maps", [seen(**arrays)], Wishes(stage=2))[0].svg
    assert np.array_equal(
        maps_in(chosen)[0], coloured(arrays["a_2"][0], arrays["a_2"][0].min(), arrays["a_2"][0].max())
    )


def test_gates_are_drawn_along_the_border_of_the_importance() -> None:
    arrays = {
        "teacher_importance_1": RNG.random((6, 4, 4)),
        "teacher_rows_1": RNG.random((6, 4)),
        "teacher_columns_1": RNG.random((6, 4)),
    }
    svg = draw("maps", [seen(**arrays)])[0].svg
    assert svg.count("<polyline") == 12 and len(maps_in(svg)) == 6


def test_edges_are_the_strongest_and_no_more_than_can_be_seen() -> None:
    adjacency = np.array([[0.9, 0.4, 0.0], [0.2, 0.8, 0.1], [0.0, 0.1, 0.9]])
    assert sample_graphs.edges(adjacency, 0.0) == [(0, 1, 1.0), (1, 2, pytest.approx(1 / 3))]
    assert [each[:2] for each in sample_graphs.edges(adjacency, 0.5)] == [(0, 1)]
    assert len(sample_graphs.edges(RNG.random((128, 128)), 0.0)) == sample_graphs.MAX_EDGES
    assert sample_graphs.edges(np.eye(4), 0.0) == []


def test_clusters_stand_together() -> None:
    labels = np.repeat([0, 1, 2], 6)
    adjacency = (labels[:, None] == labels[None]) * 0.15 + 0.001
    at = sample_graphs.places(adjacency)
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    same = labels[:, None] == labels[None]
    assert apart[same & ~np.eye(18, dtype=bool)].mean() < 0.5 * apart[~same].mean()
    assert np.array_equal(at, sample_graphs.places(adjacency)), "the layout must not jump"


def test_a_graph_of_128_images_is_small_and_quick() -> None:
    pixels = RNG.integers(0, 256, (128, 32, 32, 3), dtype=np.uint8)
    one = Seen("big", graph(128), pixels, np.arange(128) % 3, CLASSES)
    began = time.process_time()
    drawings = draw("graph", [one])
    sizes = [len(drawing.figure.to_json()) for drawing in drawings]
    assert max(sizes) < 2_000_000
    assert time.process_time() - began < 60, "far beyond any machine's load: something grew with the square"
    nodes = drawings[0].figure.data[-1]
    assert len(nodes.x) == 128 and "nearest" in nodes.text[0] and "&lt;" not in nodes.text[0]


def test_two_graphs_stand_in_the_same_places() -> None:
    at = RNG.random((12, 2))
    first, second, *_ = draw("graph", [seen(12, **graph()), seen(12, "two", **graph(seed=1))], Wishes(places=at))
    assert np.array_equal(first.figure.data[-1].x, second.figure.data[-1].x)
    assert first.title == "one: student" and second.title == "two: student"
    assert first.note.startswith("25 % of the weight to others stays within the class (by chance 25 %)")


def test_the_weights_of_the_images_stand_beside_their_graph() -> None:
    weights = np.linspace(0.5, 1.5, 12)
    *_, bars = draw("graph", [seen(12, **graph(), node_weight=weights)])
    order = np.argsort(np.arange(12) % 3, kind="stable")
    assert bars.figure.data[0].name == "node weight" and bars.figure.data[0].y.tolist() == weights[order].tolist()


def test_a_matrix_shows_counts_as_shares_of_their_row() -> None:
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 2]])
    figure = draw("matrices", [seen(student=counts)])[0].figure
    assert figure.data[0].z.tolist() == [[75, 25, 0], [0, 0, 0], [50, 0, 50]]
    relations = draw("matrices", [seen(student=np.eye(3), order=np.array([2, 0, 1]))])[0].figure
    assert list(relations.data[0].x) == ["<b>fish</b>", "cat", "dog"] and relations.data[0].zmid == 0
    cka = draw("matrices", [seen(student_teacher=np.ones((2, 4)))])[0].figure
    assert list(cka.data[0].y) == ["stage 1", "embedding"] and len(cka.data[0].x) == 4


def test_points_are_turned_towards_those_before_not_stretched() -> None:
    points = RNG.random((10, 2)) - 0.5
    angle = 1.1
    rotated = points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert networks.turned(rotated, points) == pytest.approx(points)
    assert np.linalg.norm(networks.turned(3 * rotated, points)) == pytest.approx(3 * np.linalg.norm(points))
    assert networks.turned(points, None) is points


def test_curves_bars_and_calibration_name_both_runs() -> None:
    arrays = {"shift": np.arange(3.0), "student_agreement": np.ones(3), "student_logit_change": np.zeros(3)}
    agreement, change = draw("curves", [seen(**arrays), seen(label="two", **arrays)])
    assert [trace.name for trace in agreement.figure.data] == ["one", "two"]
    assert agreement.figure.data[0].y.tolist() == [100, 100, 100] and change.figure.data[0].y.tolist() == [0, 0, 0]
    bars = draw("bars", [seen(exit_1=np.float32(0.5), student=np.float32(0.75))])[0].figure
    assert list(bars.data[0].y) == [50, 75]
    sure = {f"student_{what}": np.full(15, 0.5) for what in ("confidence", "accuracy", "share")}
    assert [trace.name for trace in draw("calibration", [seen(**sure)])[0].figure.data] == [
        "as sure as right",
        "student",
    ]


def test_what_is_followed_over_the_epochs_is_drawn_beneath() -> None:
    one = Seen("one", {"student": np.asarray(0.5)}, np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, int), CLASSES,
               history={"epochs": np.array([0, 4]), "student": np.array([0.1, 0.5])}, epoch=4)  # fmt: skip
    _, over = draw("bars", [one])
    assert over.figure.data[0].y.tolist() == [0.1, 0.5] and over.figure.layout.shapes[0].x0 == 4


def test_the_image_list_tells_what_each_answered() -> None:
    pixels = RNG.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    arrays = {
        "pixels": pixels, "truth": np.array([0, -1]), "student": np.array([1, 2]), "teacher": np.array([0, 0]),
        "student_confidence": np.array([0.9, 0.6]), "teacher_confidence": np.array([0.8, 0.7]),
        "share": np.asarray(0.25),
    }  # fmt: skip
    (drawing,) = draw("pairs", [seen(**arrays)])
    ET.fromstring(drawing.svg)
    assert ">cat<" in drawing.svg and "✗ student: dog 90 %" in drawing.svg and "✓ teacher: cat 80 %" in drawing.svg
    assert ">image 2<" in drawing.svg and "? student: &lt;b&gt;fish&lt;/b&gt; 60 %" in drawing.svg
    assert drawing.note == "They differ on 25.0 % of the images."


def test_a_document_needs_nothing_else() -> None:
    drawings = [*draw("maps", [seen(a_1=RNG.random((6, 2, 2)))]), *draw("graph", [seen(12, **graph())])]
    text = document("<Title>", "What one sees.", drawings)
    assert "&lt;Title&gt;" in text and "<Title>" not in text
    assert text.count("<svg xmlns") >= 1 and 'type="range"' in text
    assert not re.search(r"<(script|link|img|image|iframe)[^>]*(src|href)=.https?:", text), "fetched from elsewhere"


def test_titles_are_words() -> None:
    assert map_grid.title_of("student_2") == "student: stage 2"
    assert map_grid.title_of("teacher_max_pool_1") == "teacher: max pool 1"
    assert map_grid.title_of("mean_mask") == "mean mask"
