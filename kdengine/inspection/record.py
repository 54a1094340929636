"""Looks inside while a run trains: the same pictures at some epochs, so that one can see them change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property

import numpy as np

from kdengine.data.bundle import DatasetBundle
from kdengine.inspection import store
from kdengine.inspection.choice import shown, statistics
from kdengine.inspection.gradients import gradient_norms
from kdengine.inspection.panels import GRAPHED, PANELS
from kdengine.inspection.subject import Arrays, Pictures, Subject
from kdengine.methods.base import BatchLike, Method
from kdengine.models.backbone import Backbone
from kdengine.rundir import RunDirectory
from kdengine.training.teacher import FrozenTeacher

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
        bundle: the data; pictures of its validation part are shown (of its training part where that is empty).
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
    def _pictures(self) -> Pictures:
        return shown(self.bundle, GRAPHED)

    @cached_property
    def _many(self) -> Pictures:
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
        if store.read_pictures(self.run) is None:
            store.write_pictures(self.run, self._pictures)
        subject = Subject(
            student=kept, method=method, teacher=self.teacher, pictures=self._pictures, many=self._many,
            classes=self.bundle.classes, mean=self.bundle.mean, std=self.bundle.std,
        )  # fmt: skip
        found = recorded(subject)
        if self._batch is not None:
            found["gradients"] = gradient_norms(student, method, self.teacher, self._batch, epoch)
        store.write(self.run, epoch, found)


def recorded(subject: Subject) -> dict[str, Arrays]:
    """The arrays of every panel that is recorded, by panel."""
    few = {panel.pictures: subject.showing(subject.pictures.first(panel.pictures)) for panel in PANELS.values()}
    few[len(subject.pictures)] = subject
    return {
        name: panel.compute(few[min(panel.pictures, len(subject.pictures))])
        for name, panel in PANELS.items()
        if panel.pictures and panel.compute is not None
    }
