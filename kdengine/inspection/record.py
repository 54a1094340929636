"""Looks inside while a run trains: the same images at some epochs, so that one can see them change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property

import numpy as np

from kdengine.data.bundle import DatasetBundle
from kdengine.inspection import recordings as store
from kdengine.inspection.choice import shown, statistics
from kdengine.inspection.gradients import gradient_norms
from kdengine.inspection.panels import GRAPHED, PANELS
from kdengine.inspection.subject import Arrays, Images, Subject
from kdengine.methods.base import BatchLike, Method
from kdengine.models.backbone import Backbone
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace.rundir import RunDirectory

log = logging.getLogger(__name__)


def epochs_to_record(epochs: int, times: int) -> tuple[int, ...]:
    """At most ``times`` epochs, evenly spread to the last one, and the untrained network (0); () for 0 times."""
    if not times:
        return ()
    return tuple(sorted({round(epoch) for epoch in np.linspace(0, epochs, times + 1).tolist()}))


class Recorder:
    """Stores the recorded panels of one run. Weights, statistics and random states stay as they are.

    Args:
        run: where the arrays go.
        bundle: the data; images of its validation part are shown (of its training part where that is empty).
        teacher: of the run.
        batch: gives a training batch for the pull of the loss terms; None leaves that out. Asked for once, when the
            first epoch is looked at.
        epochs: which epochs are wanted.
    """

    def __init__(
        self,
        run: RunDirectory,
        bundle: DatasetBundle,
        teacher: FrozenTeacher | None,
        batch: Callable[[], BatchLike] | None,
        epochs: tuple[int, ...],
    ) -> None:
        self.run = run
        self.bundle = bundle
        self.teacher = teacher
        self.epochs = epochs
        self._take_batch = batch

    @cached_property
    def _images(self) -> Images:
        return shown(self.bundle, GRAPHED)

    @cached_property
    def _many(self) -> Images:
        return statistics(self.bundle)

    @cached_property
    def _batch(self) -> BatchLike | None:
        return self._take_batch() if self._take_batch is not None else None

    def look(self, epoch: int, kept: Backbone, student: Backbone, method: Method) -> None:
        """Stores an epoch if it is wanted and not there; what goes wrong is logged and never ends the run.

        Args:
            epoch: epochs trained so far.
            kept: the network as it is evaluated.
            student: the one that trains; the same where nothing is averaged or added.
            method: with its parts.
        """
        if epoch not in self.epochs or store.epoch_file(self.run, epoch).is_file():
            return
        try:
            self._store(epoch, kept, student, method)
        except Exception as error:
            log.warning("epoch %d was not looked at: %s: %s", epoch, type(error).__name__, error)

    def _store(self, epoch: int, kept: Backbone, student: Backbone, method: Method) -> None:
        if store.read_images(self.run) is None:
            store.write_images(self.run, self._images)
        subject = Subject(
            student=kept, method=method, teacher=self.teacher, images=self._images, many=self._many,
            classes=self.bundle.classes, mean=self.bundle.mean, std=self.bundle.std,
        )  # fmt: skip
        found = recorded(subject)
        if self._batch is not None:
            found["gradients"] = gradient_norms(student, method, self.teacher, self._batch, epoch)
        store.write(self.run, epoch, found)


def recorded(subject: Subject) -> dict[str, Arrays]:
    """The arrays of every panel that is recorded, by panel."""
    few = {panel.images: subject.showing(subject.images.first(panel.images)) for panel in PANELS.values()}
    few[len(subject.images)] = subject
    return {
        name: panel.compute(few[min(panel.images, len(subject.images))])
        for name, panel in PANELS.items()
        if panel.images and panel.compute is not None
    }
