"""A workspace as people leave it: runs of different data, methods and networks, of which the newest is never meant.

A page that falls back on a default shows another run than the one it was asked for, and a test that asks for one of
these sees it.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import tiny_spec

from kdengine import run
from kdengine.comparison.plan import make_plan
from kdengine.comparison.stored_plans import save_plan
from kdengine.jobs import JobStore
from kdengine.workspace import Workspace
from kdengine.workspace.states import State

sys.path.append(str(Path(__file__).parents[1] / "studies"))
from mill import Mill, isolate, small_plan

CLASSES = ("猫", "狗", "鸟")
ARCHIVE = "动物.zip"


@dataclass(frozen=True)
class LivedIn:
    """The runs by what they are, oldest first.

    Attributes:
        own: on one's own images inside the workspace, the student alone, a resnet8.
        teacher: resnet8x4 alone on digits.
        taught: resnet8 taught by ``teacher`` with kd, with settings that are no defaults.
        outside: vgg8 by itself, tf_kd, on a folder outside the workspace.
        newest: what every page shows when it is asked for nothing.

    And two studies that are done, ``older`` of eight trials and ``newer`` of four, and the plan of a comparison,
    ``earlier``, of which nothing has run.
    """

    workspace: Workspace
    own: str
    teacher: str
    taught: str
    outside: str
    newest: str

    @property
    def all(self) -> list[str]:
        """Ids, oldest first."""
        return [self.own, self.teacher, self.taught, self.outside, self.newest]


def live_in(workspace: Workspace, elsewhere: Path) -> LivedIn:
    """Trains the runs; a second each.

    Args:
        workspace: where.
        elsewhere: a folder that does not lie in it, for images.
    """
    archive = zip_of_images(workspace.datasets / "own" / ARCHIVE, CLASSES)
    with zipfile.ZipFile(zip_of_images(elsewhere / "shapes.zip", ("round", "square"))) as packed:
        packed.extractall(elsewhere / "shapes")
    small = {"epochs": 2, "batch_size": 16}
    own = _run(
        workspace, title="alpha", data={"name": "folder", "path": str(archive), "image_size": 16, "per_class": None},
        recipe=small,
    )  # fmt: skip
    teacher = _run(workspace, student="resnet8x4", data={"per_class": 12})
    taught = _run(
        workspace, method={"name": "kd", "temperature": 3.5}, teacher=f"run:{teacher}", data={"per_class": 12},
        recipe={"lr": 0.07}, seed=5, title="gamma", runtime={"inspect": 2},
    )  # fmt: skip
    outside = _run(
        workspace, student="vgg8", method="tf_kd", recipe=small,
        data={"name": "folder", "path": str(elsewhere / "shapes"), "image_size": 20, "per_class": None},
    )  # fmt: skip
    newest = _run(workspace, method="cs_kd", data={"per_class": 11})
    _studies(workspace)
    common = {"data": {"name": "digits", "per_class": 9}, "student": "resnet20"}
    save_plan(make_plan("earlier", common, ["byot"], range(1)), workspace)
    return LivedIn(workspace, own, teacher, taught, outside, newest)


def _studies(workspace: Workspace) -> None:
    """Made and worked off by hand, before any supervisor looks."""
    mill = Mill(workspace)
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, workspace.root)
        for name, more in (("older", {"pruner": "none"}), ("newer", {"budget": {"trials": 4}})):
            plan = mill.begin(small_plan(name, **more))
            mill.work(plan, only=f"{name}-")
            mill.store.change(plan.job_id, set(State), state=State.FINISHED)


def _run(workspace: Workspace, **changes: object) -> str:
    result = run(tiny_spec(**changes), workspace=workspace)
    JobStore(workspace).adopt(workspace.run(result.run_id))
    return result.run_id


def zip_of_images(target: Path, classes: tuple[str, ...], count: int = 24) -> Path:
    """A zip with a folder of noisy images for each class; how bright they are tells the class."""
    rng = np.random.default_rng(len(classes))
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w") as archive:
        for number, name in enumerate(classes):
            for index in range(count):
                pixels = rng.integers(0, 60, (20, 20, 3)) + 190 * number // max(1, len(classes) - 1)
                archive.writestr(f"{name}/{index:02d}.png", _png(pixels.astype(np.uint8)))
    return target


def _png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
