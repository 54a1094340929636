"""The maps of one or two runs as grids."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from kdengine.figures import map_grid, tiles, verdicts
from kdengine.figures.seen import DIFFERENCE, SHARED, WHO, Arrays, Drawing, Seen, Wishes

MAX_COLUMNS = 8
"""More maps than this are shown stage by stage."""


def stages_of(arrays: Arrays) -> list[int]:
    """The stages among the arrays' names, ascending; [] where all fit in one grid."""
    names = [name for name, values in arrays.items() if values.ndim == 3]
    numbers = sorted({int(found.group(1)) for name in names if (found := re.search(r"_(\d+)$", name))})
    return numbers if len(names) > MAX_COLUMNS and len(numbers) > 1 else []


def _of_stage(arrays: Arrays, stage: int | None) -> Arrays:
    stages = stages_of(arrays)
    if not stages:
        return arrays
    wanted = stage if stage in stages else stages[-1]
    return {name: values for name, values in arrays.items() if re.search(rf"(^|_){wanted}$", name)}


def maps(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """A grid for each run, or one of their difference."""
    chosen = [replace(run, arrays=_of_stage(run.arrays, wishes.stage)) for run in runs]
    if len(chosen) == 2 and wishes.arrangement == DIFFERENCE:
        return [_difference_grid(chosen[0], chosen[1], wishes)]
    beside = [chosen[1 - number].arrays if len(chosen) == 2 else {} for number in range(len(chosen))]
    columns = [_columns(run, other, wishes) for run, other in zip(chosen, beside, strict=True)]
    found = []
    for number, (run, its) in enumerate(zip(chosen, columns, strict=True)):
        notes = _numbers_of(run.arrays, len(run.pixels))
        across = max(map(len, columns))
        found.append(_drawn(run, run.label, its, notes, _caption(run), wishes, f"g{number}x", across))
    return found


def _columns(run: Seen, other: Arrays, wishes: Wishes) -> list[map_grid.Column]:
    columns = []
    for name, values in run.arrays.items():
        if values.ndim == 3:
            beside = _same_shape(other.get(name), values) if _shares_scale(name, wishes) else None
            columns.append(_with_profiles(map_grid.column(name, values, beside), name, run.arrays))
        elif values.ndim == 2 and not re.search(r"_(rows|columns)_\d+$", name):
            columns.append(map_grid.column(name, values[:, None, :]))
    return columns


def _shares_scale(name: str, wishes: Wishes) -> bool:
    return wishes.scale == SHARED or any(word in name for word in map_grid.OVER_ALL)


def _drawn(
    run: Seen,
    title: str,
    columns: list[map_grid.Column],
    notes: list[str],
    note: str,
    wishes: Wishes,
    key: str,
    across: int = 0,
) -> Drawing:
    """The images of a run with these maps, as tiles for a page or as SVG."""
    labels = _labels(run)
    said = [verdicts.of(run, number) for number in range(len(labels))]
    if wishes.for_page:
        html = tiles.draw(tiles.Tiled(run.pixels, columns, labels, said, notes, title, across))
        return Drawing(title, html=html, note=note)
    lines = ["\n".join([*(each.words for each in one), more]).strip() for one, more in zip(said, notes, strict=True)]
    if columns:
        return Drawing(title, svg=map_grid.draw(run.pixels, columns, labels, lines, key=key), note=note)
    captions = [f"{label}\n{line}" for label, line in zip(labels, lines, strict=True)]
    return Drawing(title, svg=map_grid.image_list(run.pixels, captions, key=key), note=note)


def _same_shape(other: np.ndarray | None, values: np.ndarray) -> np.ndarray | None:
    return other if other is not None and len(other) == len(values) else None


def _with_profiles(one: map_grid.Column, name: str, arrays: Arrays) -> map_grid.Column:
    rows, columns = (arrays.get(name.replace("_importance_", f"_{what}_")) for what in ("rows", "columns"))
    if "_importance_" not in name or rows is None or columns is None:
        return one
    return replace(one, rows=rows, columns=columns)


def _difference_grid(first: Seen, second: Seen, wishes: Wishes) -> Drawing:
    columns = [
        map_grid.difference(name, values, second.arrays[name])
        for name, values in first.arrays.items()
        if values.ndim == 3 and name in second.arrays and second.arrays[name].shape == values.shape
    ]
    title = f"{first.label} minus {second.label}"
    if not columns:
        return Drawing(
            title, svg=map_grid.draw(first.pixels[:0], [], [], key="dx"), note="The two runs have no map in common."
        )
    note = "Red = more in the first run, blue = more in the second, white = no difference."
    return _drawn(replace(first, predictions={}), title, columns, [""] * len(first.pixels), note, wishes, "dx")


def _labels(run: Seen) -> list[str]:
    return [run.class_of(number) or f"image {number + 1}" for number in range(len(run.pixels))]


def _numbers_of(arrays: Arrays, count: int) -> list[str]:
    """One number of each image as lines of text."""
    vectors = {name: values for name, values in arrays.items() if values.shape == (count,)}
    return [
        "\n".join(f"{name.replace('_', ' ')}: {float(values[number]):.2f}" for name, values in vectors.items())
        for number in range(count)
    ]


def _caption(run: Seen) -> str:
    shown = {re.sub(r"_\d+$", "", name) for name in run.arrays}
    return " ".join(f"{name.replace('_', ' ')}: {words}." for name, words in run.captions.items() if name in shown)


def predictions(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """The images with what is predicted for them."""
    found = []
    for number, run in enumerate(runs):
        shown = replace(run, predictions=run.arrays)
        notes = [""] * len(run.pixels)
        found.append(_drawn(shown, run.label, [], notes, _how_many_right(shown), wishes, f"t{number}"))
    return found


def _how_many_right(run: Seen) -> str:
    known = run.labels >= 0
    if not known.any():
        return ""
    right = {
        who: int((run.predictions[who][known] == run.labels[known]).sum()) for who in WHO if who in run.predictions
    }
    said = ", ".join(f"{who} {count}" for who, count in right.items())
    return f"Right of {int(known.sum())} images: {said}."


def pairs(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """The images on which student and teacher differ."""
    found = []
    for place, run in enumerate(runs):
        if "pixels" not in run.arrays:
            continue
        a = run.arrays
        said = {name: a[name] for who in WHO for name in (who, f"{who}_confidence")}
        shown = replace(run, pixels=a["pixels"], labels=a["truth"], predictions=said)
        note = f"They differ on {100 * float(a['share']):.1f} % of the images."
        found.append(_drawn(shown, run.label, [], [""] * len(a["pixels"]), note, wishes, f"p{place}"))
    return found
