"""The run that is measured: its networks, method and loop on made-up images, in the numbers of its real ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from kdengine import assembly
from kdengine.data import DatasetBundle, DatasetDefinition, Part, splits
from kdengine.data.batches.loader import BatchLoader
from kdengine.data.decoded_images import is_stored
from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone
from kdengine.registry import DATASETS
from kdengine.spec import ExperimentSpec
from kdengine.training.hardware import choose_precision
from kdengine.training.loop import Trainer
from kdengine.training.teacher import FrozenTeacher
from kdengine.tuning.of_run import measured_ways
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

PROBE_BATCH = 2
IMAGE_POOL = 64


class Counts(NamedTuple):
    """Sizes of the data: classes, and images of each part."""

    classes: int
    train: int
    validation: int
    test: int


def moved_to(spec: ExperimentSpec, device: str | None) -> ExperimentSpec:
    """The experiment on another device; it is then good for a measurement alone, since precision is part of it."""
    if device is None or device == spec.runtime.device:
        return spec
    change: dict[str, str] = {"device": device}
    if device == "cpu" and spec.runtime.precision != "fp32":
        change["precision"] = "auto"
    return spec.model_copy(update={"runtime": spec.runtime.model_copy(update=change)})


def data_counts(spec: ExperimentSpec, workspace: Workspace) -> Counts:
    """Exact where the images are decoded already, else from the published numbers or the names of one's own files."""
    data = spec.data
    bundle = decoded(spec, workspace)
    if bundle is not None:
        return Counts(len(bundle.classes), len(bundle.train), len(bundle.validation), len(bundle.test))
    definition: DatasetDefinition = DATASETS.get(data.name)
    if definition.counts is not None and definition.class_count is not None:
        classes, (train, test) = definition.class_count, definition.counts
    else:
        source = definition.open(data.params, workspace.datasets)
        classes, train, test = len(source.classes), source.train_count, len(source.labels) - source.train_count
    each = train // classes
    held_out = splits.carved_count(each, data.validation) * classes
    left = round((train - held_out) * data.fraction)
    if data.per_class is not None:
        left = min(left, data.per_class * classes)
    meta = assembly.needs(spec).meta
    return Counts(classes, left - round(left * meta), held_out, test)


def decoded(spec: ExperimentSpec, workspace: Workspace) -> DatasetBundle | None:
    """The data, where their images are decoded already; None where that, or the download, is still to be done."""
    data = spec.data
    identity = DATASETS.get(data.name).identity(data.params, workspace.datasets)
    there = is_stored(workspace.datasets, data.name, identity, data.image_size)
    return assembly.load_data(spec, workspace) if there else None


def made_up(spec: ExperimentSpec, counts: Counts) -> DatasetBundle:
    """Data of those sizes without images of their own: a few made-up ones stand for all."""
    size = spec.data.image_size
    pool = np.random.default_rng(0).integers(0, 256, (IMAGE_POOL, size, size, 3), dtype=np.uint8)

    def part(length: int) -> Part:
        numbers = np.arange(length)
        return Part(pool, numbers % IMAGE_POOL, numbers % counts.classes)

    return DatasetBundle(
        name=spec.data.name,
        classes=tuple(map(str, range(counts.classes))),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        image_size=size,
        train=part(counts.train),
        validation=part(counts.validation),
        test=part(counts.test),
        digest="",
    )


def batches_of(
    spec: ExperimentSpec, counts: Counts, batch_size: int, device: torch.device, compile: bool = False
) -> BatchLoader:
    """A few batches as training will see them."""
    few = min(counts.train, max(3 * batch_size, 4 * counts.classes))
    recipe = spec.recipe.model_copy(update={"batch_size": batch_size})
    runtime = spec.runtime.model_copy(update={"compile": compile, "workers": 0})
    smaller = spec.model_copy(update={"recipe": recipe, "runtime": runtime})
    return assembly.training_batches(smaller, made_up(spec, counts._replace(train=few)), device)


def trainer_of(
    spec: ExperimentSpec, workspace: Workspace, counts: Counts, device: torch.device, compile: bool = False
) -> Trainer:
    """The loop of the spec, eager or compiled; steps are taken with `batches_of`. It writes nothing."""
    measured = spec.model_copy(
        update={
            "runtime": spec.runtime.model_copy(update={"compile": compile}),
            "recipe": spec.recipe.model_copy(update={"accumulate": 1}),  # a part is measured as a batch of its own
        }
    )
    return assembly.assemble_trainer(
        measured,
        assembly.in_layout(spec, assembly.seeded_student(spec, counts.classes), device),
        _teacher(spec, workspace, counts, device, compile),
        batches_of(spec, counts, PROBE_BATCH, device),
        classes=counts.classes,
        samples=counts.train,
        run=RunDirectory(workspace.runs / "forecast"),  # single steps write nothing there
        device=device,
        reduced=choose_precision(spec.runtime.precision, device).student,
    )


def _teacher(
    spec: ExperimentSpec, workspace: Workspace, counts: Counts, device: torch.device, compile: bool
) -> FrozenTeacher | None:
    classes, reduced = counts.classes, choose_precision(spec.runtime.precision, device).teacher
    images = spec.recipe.epochs * counts.train
    if spec.teacher is None:
        return None
    if spec.teacher.spec is not None:
        backbone = assembly.build_backbone(spec.teacher.spec.student, classes, spec.data.image_size)
    else:
        source = assembly.find_teacher(spec, workspace)
        assert source is not None
        backbone = assembly.load_teacher(source)[0]
        known = backbone.shapes().classes
        if known != classes:
            message = f"the teacher {source.id} knows {known} classes, {spec.data.name} has {classes}"
            raise BadInput(Problem("teacher", message + "; they must be the same"))
    same = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return FrozenTeacher(
        backbone,
        mean=same[0],
        std=same[1],
        batch_mean=same[0],
        batch_std=same[1],
        device=device,
        channels_last=spec.runtime.in_channels_last,
        compile=compile,
        reduced=reduced,
        choose=lambda net: measured_ways(spec, net, workspace.cache, device, images, reduced),
    )


def teachers_of(trainer: Trainer) -> list[Backbone]:
    """Its teacher's network, where it has one."""
    return [trainer.teacher.backbone] if trainer.teacher is not None else []
