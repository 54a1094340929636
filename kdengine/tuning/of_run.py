"""What a run computes with: decided at its first start, kept in its folder, read at every resume.

Bit-exact resume needs the same choices, whatever the cache says meanwhile. A run that began before choices were kept
goes on with what was the rule then. Runs that are over in less time than measuring could save, and those that are to be
deterministic, compute directly: what they give then depends on no measurement.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from kdengine.data.batches.loader import BatchLoader
from kdengine.errors import DamagedFile
from kdengine.models.backbone import Backbone
from kdengine.models.ways import as_in_version_1, possible
from kdengine.spec import ExperimentSpec
from kdengine.training.cached_logits import CachedTeacher
from kdengine.tuning.convolutions import by_layer, choose_ways
from kdengine.tuning.layout import CHANNELS_LAST, CONTIGUOUS, choose_layout
from kdengine.tuning.work import macs_of
from kdengine.workspace import files
from kdengine.workspace.rundir import RunDirectory

log = logging.getLogger(__name__)

FORMAT = 1
MIN_S = 30.0
"""Seconds that a network must compute in the whole run before it is measured; up to half of them can be saved."""
SPEED = 1e11
"""Operations a second of a thread in float32, roughly: to distinguish a run of seconds from one of minutes."""

Why = Literal["measured", "a short run", "a deterministic run", "a GPU", "as the run was begun", "as it is set"]


class Choices(BaseModel):
    """What is kept in ``choices.json``.

    Attributes:
        format: of the file.
        layout: of student, teacher and images.
        layout_why: where it comes from.
        ways: of the teacher's convolutions, by the names of their modules; those left out are direct.
        ways_why: where they come from; "" as long as they are not chosen.
        reads: whether cached logits of the teacher are read: "yes", "no", or "" as long as that is not chosen.
        reads_why: where that comes from.
        measured: of what was measured, the kinds, times and ways, for people.
    """

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    layout: str = ""
    layout_why: str = ""
    ways: dict[str, str] = {}
    ways_why: str = ""
    reads: str = ""
    reads_why: str = ""
    measured: list[dict[str, Any]] = []


def measured_ways(
    spec: ExperimentSpec, net: Backbone, cache: Path, device: torch.device, images: int, reduced: torch.dtype | None
) -> dict[str, str]:
    """The ways that a new run of so many ``images`` would choose for its teacher; for a forecast, nothing is kept."""
    if why_not(spec, device, 2 * macs_of(net) * images) is not None:
        return {}
    return by_layer(choose_ways(net, spec.recipe.part_size, cache, reduced, tried=False))


def why_not(spec: ExperimentSpec, device: torch.device, operations: float) -> Why | None:
    """Why nothing is measured for a network that computes so many operations in a whole run; None where it is."""
    if device.type != "cpu":
        return "a GPU"
    if spec.runtime.deterministic:
        return "a deterministic run"
    return "a short run" if operations < MIN_S * SPEED * torch.get_num_threads() else None


class RunChoices:
    """Chooses for one run.

    Args:
        folder: of the run.
        spec: of the run.
        cache: folder of the workspace.
        device: where it computes.
        images: that the student sees in the whole run.
    """

    def __init__(
        self, folder: RunDirectory, spec: ExperimentSpec, cache: Path, device: torch.device, images: int
    ) -> None:
        self.folder = folder
        self.spec = spec
        self.cache = cache
        self.device = device
        self.images = images
        # From before choices were kept.
        self._begun_before = folder.last_checkpoint.is_file() and not folder.choices_file.is_file()
        self.kept = self._read()

    def channels_last(self, student: Backbone, reduced: torch.dtype | None) -> bool:
        """Whether student, teacher and images are laid out with the channels last."""
        if not self.kept.layout:
            layout, why, times = self._layout(student, reduced)
            measured = [{"what": "a step of the student", "way": layout, "times": dict(times)}] if times else []
            self._keep(layout=layout, layout_why=why, measured=measured)
        return self.kept.layout != CONTIGUOUS

    def ways(self, net: Backbone, batch_size: int, reduced: torch.dtype | None) -> Mapping[str, str]:
        """The ways of the teacher's convolutions, for `kdengine.training.teacher.FrozenTeacher`."""
        if not self.kept.ways_why:
            ways, why, measured = self._ways(net, batch_size, reduced)
            self._keep(ways=ways, ways_why=why, measured=[*self.kept.measured, *measured])
        found = {name: way for name, way in self.kept.ways.items() if possible(net, name, way)}
        if missing := set(self.kept.ways) - set(found):
            log.warning(
                "this machine has no %s, with which the run was begun: %d convolutions of the teacher are computed "
                "directly, and the run goes on equal up to rounding, not bit for bit",
                ", ".join(sorted({self.kept.ways[name] for name in missing})), len(missing),
            )  # fmt: skip
        return found

    def reads_logits(self, teacher: CachedTeacher, batches: BatchLoader) -> bool:
        """Whether reading the cached logits of a batch is faster than asking the teacher; both are timed."""
        if not self.kept.reads:
            why = self._why_not(macs_of(teacher.backbone))
            # Of a GPU both have to be timed as well: each look into the table makes it wait.
            if why is not None and (why != "a GPU" or self.spec.runtime.deterministic):
                self._keep(reads="yes", reads_why=why)
            else:
                rows = torch.arange(min(self.spec.recipe.part_size, len(batches.part)))
                slots = torch.zeros_like(rows)
                read, asked = teacher.seconds(batches.views_at(rows, slots), rows, slots)
                timed = {"what": "a batch's logits of the teacher", "times": {"read": read, "asked": asked}}
                timed["way"] = "read" if read < asked else "asked"
                measured = [*self.kept.measured, timed]
                self._keep(reads="yes" if read < asked else "no", reads_why="measured", measured=measured)
        return self.kept.reads == "yes"

    # how ----------------------------------------------------------------------------------------------------------

    def _layout(self, student: Backbone, reduced: torch.dtype | None) -> tuple[str, Why, Mapping[str, float]]:
        named = self.spec.runtime.channels_last
        if named != "auto":
            return (CHANNELS_LAST if named == "on" else CONTIGUOUS), "as it is set", {}
        # Forward, and the gradients of input and weights.
        why = self._why_not(3 * macs_of(student))
        if why is not None:
            return CHANNELS_LAST, why, {}
        layout, times = choose_layout(student, self.spec.recipe.part_size, self.cache, reduced)
        return layout, "measured", times

    def _ways(
        self, net: Backbone, batch_size: int, reduced: torch.dtype | None
    ) -> tuple[dict[str, str], Why, list[dict[str, Any]]]:
        why = self._why_not(macs_of(net))
        if why == "as the run was begun" and reduced is None:
            return as_in_version_1(net), why, []
        if why is not None:
            return {}, why, []
        choices = choose_ways(net, batch_size, self.cache, reduced)
        return by_layer(choices), "measured", [asdict(choice) for choice in choices]

    def _why_not(self, macs: float) -> Why | None:
        """Why nothing is measured for a network of so many multiply-accumulates an image; None where it is."""
        if self._begun_before and self.device.type == "cpu":
            return "as the run was begun"
        return why_not(self.spec, self.device, 2 * macs * self.images)

    # the file -----------------------------------------------------------------------------------------------------

    def _read(self) -> Choices:
        try:
            return Choices.model_validate(files.read_json(self.folder.choices_file, {}))
        except (DamagedFile, ValidationError) as error:
            log.warning(
                "%s is damaged (%s): what the run computes with is chosen anew, and it goes on equal up to rounding, "
                "not bit for bit", self.folder.choices_file, str(error).splitlines()[0],
            )  # fmt: skip
            return Choices()

    def _keep(self, **chosen: Any) -> None:
        self.kept = self.kept.model_copy(update=chosen)
        files.write_json(self.folder.choices_file, self.kept.model_dump())
