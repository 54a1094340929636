"""The maps of one or two runs as grids."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from kdengine.figures import map_grid
from kdengine.figures.seen import DIFFERENCE, Arrays, Drawing, Seen, Wishes

MOST_COLUMNS = 8
"""More maps than this are shown stage by stage."""


def stages_of(arrays: Arrays) -> list[int]:
    """The stages among the arrays' names, ascending; [] where all fit in one grid."""
    names = [name for name, values in arrays.items() if values.ndim == 3]
    numbers = sorted({int(found.group(1)) for name in names if (found := re.search(r"_(\d+)$", name))})
    return numbers if len(names) > MOST_COLUMNS and len(numbers) > 1 else []


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
        return [_difference_grid(*chosen)]
    return [
        _grid(run, chosen[1 - number].arrays if len(chosen) == 2 else {}, f"g{number}x")
        for number, run in enumerate(chosen)
    ]


def _grid(run: Seen, other: Arrays, key: str) -> Drawing:
    columns = []
    for name, values in run.arrays.items():
        if values.ndim == 3:
            one = map_grid.column(name, values, _same_shape(other.get(name), values))
            columns.append(_with_profiles(one, name, run.arrays))
        elif values.ndim == 2 and not re.search(r"_(rows|columns)_\d+$", name):
            columns.append(map_grid.column(name, values[:, None, :]))
    svg = map_grid.draw(run.pixels, columns, _labels(run), _numbers_of(run.arrays, len(run.pixels)), key=key)
    return Drawing(run.label, svg=svg, note=_caption(run))


def _same_shape(other: np.ndarray | None, values: np.ndarray) -> np.ndarray | None:
    return other if other is not None and len(other) == len(values) else None


def _with_profiles(one: map_grid.Column, name: str, arrays: Arrays) -> map_grid.Column:
    rows, columns = (arrays.get(name.replace("_importance_", f"_{what}_")) for what in ("rows", "columns"))
    if "_importance_" not in name or rows is None or columns is None:
        return one
    return replace(one, rows=rows, columns=columns)


def _difference_grid(first: Seen, second: Seen) -> Drawing:
    columns = [
        map_grid.difference(name, values, second.arrays[name])
        for name, values in first.arrays.items()
        if values.ndim == 3 and name in second.arrays and second.arrays[name].shape == values.shape
    ]
    note = (
        "Red = more in the first run, blue = more in the second, white = no difference."
        if columns
        else "The two runs have no map in common."
    )
    svg = map_grid.draw(first.pixels, columns, _labels(first), key="dx")
    return Drawing(f"{first.label} minus {second.label}", svg=svg, note=note)


def _labels(run: Seen) -> list[str]:
    return [run.class_of(number) or f"picture {number + 1}" for number in range(len(run.pixels))]


def _numbers_of(arrays: Arrays, count: int) -> list[str]:
    """One number of each picture as lines of text."""
    vectors = {name: values for name, values in arrays.items() if values.shape == (count,)}
    return [
        "\n".join(f"{name.replace('_', ' ')}: {float(values[number]):.2f}" for name, values in vectors.items())
        for number in range(count)
    ]


def _caption(run: Seen) -> str:
    shown = {re.sub(r"_\d+$", "", name) for name in run.arrays}
    return " ".join(f"{name.replace('_', ' ')}: {words}." for name, words in run.captions.items() if name in shown)


def pairs(runs: list[Seen], wishes: Wishes) -> list[Drawing]:
    """The pictures on which student and teacher differ."""
    found = []
    for place, run in enumerate(runs):
        if "pixels" not in run.arrays:
            continue
        a = run.arrays
        captions = [_told(a, run.classes, number) for number in range(len(a["pixels"]))]
        note = f"They differ on {100 * float(a['share']):.1f} % of the pictures."
        found.append(Drawing(run.label, svg=map_grid.picture_list(a["pixels"], captions, key=f"p{place}"), note=note))
    return found


def _told(a: Arrays, classes: tuple[str, ...], number: int) -> str:
    lines = [f"is {classes[int(a['truth'][number])]}" if a["truth"][number] >= 0 else ""]
    for who in ("teacher", "student"):
        lines.append(f"{who}: {classes[int(a[who][number])]} {100 * float(a[f'{who}_confidence'][number]):.0f} %")
    return "\n".join(lines)
