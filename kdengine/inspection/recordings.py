"""What was looked at while training, kept with the run.

Layout::

    runs/<id>/inspection/pictures.npz      pixels, labels: the validation images that are always the same
                         epoch-0010.npz    arrays as "panel/name" after ten epochs; epoch 0 is the untrained network
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from kdengine.inspection.subject import Arrays, Images
from kdengine.workspace import files
from kdengine.workspace.rundir import RunDirectory

EPOCH_FILE = re.compile(r"epoch-(\d{4,})\.npz")


def folder(run: RunDirectory) -> Path:
    """Where the arrays of a run lie."""
    return run.path / "inspection"


def epochs(run: RunDirectory) -> list[int]:
    """The epochs that were looked at, ascending; [] for a run that was not."""
    place = folder(run)
    names = [EPOCH_FILE.fullmatch(file.name) for file in place.iterdir()] if place.is_dir() else []
    return sorted(int(name.group(1)) for name in names if name)


def write(run: RunDirectory, epoch: int, panels: dict[str, Arrays]) -> None:
    """Writes what an epoch looked like, by panel, atomically; panels without arrays leave nothing."""
    write_arrays(
        epoch_file(run, epoch),
        {f"{panel}/{name}": values for panel, found in panels.items() for name, values in found.items()},
    )


def read(run: RunDirectory, epoch: int, panel: str) -> Arrays:
    """The arrays of a panel at an epoch; {} when it was not recorded."""
    file = epoch_file(run, epoch)
    if not file.is_file():
        return {}
    with np.load(file, allow_pickle=False) as stored:
        return {name.removeprefix(f"{panel}/"): stored[name] for name in stored.files if name.startswith(f"{panel}/")}


def recorded_panels(run: RunDirectory) -> set[str]:
    """Names of the panels that any epoch has arrays of."""
    found: set[str] = set()
    for epoch in epochs(run):
        with np.load(epoch_file(run, epoch), allow_pickle=False) as stored:
            found |= {name.partition("/")[0] for name in stored.files}
    return found


def write_images(run: RunDirectory, images: Images) -> None:
    """Keeps the images that are looked at at every epoch."""
    write_arrays(folder(run) / "pictures.npz", {"pixels": images.pixels, "labels": images.labels})


def read_images(run: RunDirectory) -> Images | None:
    """The images that the recorded arrays belong to; None when nothing was recorded."""
    file = folder(run) / "pictures.npz"
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as stored:
        return Images(stored["pixels"], stored["labels"])


def epoch_file(run: RunDirectory, epoch: int) -> Path:
    """The file of an epoch."""
    return folder(run) / f"epoch-{epoch:04d}.npz"


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Writes a compressed npz, atomically."""
    with files.atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
