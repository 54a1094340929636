"""Networks that were opened, and what was computed of them, kept ready for the next view of the same run."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from kdengine.inspection.opening import Epoch, open_subject
from kdengine.inspection.panels import PANELS, Panel
from kdengine.inspection.subject import Arrays, Images, Subject
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

NO_IMAGES = Images(np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64))


def arrays_of(
    workspace: Workspace, run: RunDirectory, one: Panel, epoch: Epoch, images: Images, device: torch.device
) -> Arrays:
    """The arrays of a panel, computed by the networks of an epoch whose weights are there; not to be changed."""
    return _arrays(str(workspace.root), run.id, epoch, stamp(run), images, device, one.name)


def subject_of(workspace: Workspace, run: RunDirectory, epoch: Epoch, images: Images, device: torch.device) -> Subject:
    """The networks of an epoch before these images."""
    return _subject(str(workspace.root), run.id, epoch, stamp(run), images, device)


def stamp(run: RunDirectory) -> int:
    """Another number for every writing of the best weights; 0 before the first."""
    return run.student_file.stat().st_mtime_ns if run.student_file.is_file() else 0


def forget() -> None:
    """Drops all that is kept."""
    for kept in (_arrays, _subject, _networks):
        kept.cache_clear()


# In each, ``stamp`` makes a run that has trained on a new entry; images are equal when their contents are.


@lru_cache(maxsize=64)
def _arrays(root: str, run: str, epoch: Epoch, stamp: int, images: Images, device: torch.device, name: str) -> Arrays:
    compute = PANELS[name].compute
    assert compute is not None
    return compute(_subject(root, run, epoch, stamp, images, device))


@lru_cache(maxsize=8)
def _subject(root: str, run: str, epoch: Epoch, stamp: int, images: Images, device: torch.device) -> Subject:
    return _networks(root, run, epoch, stamp, device).showing(images)


@lru_cache(maxsize=6)
def _networks(root: str, run: str, epoch: Epoch, stamp: int, device: torch.device) -> Subject:
    workspace = Workspace(root)
    return open_subject(workspace, workspace.run(run), epoch, NO_IMAGES, device)
