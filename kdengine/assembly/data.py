"""From a spec to its data set and the batches that a run takes from it."""

from __future__ import annotations

import os

import numpy as np
import torch

from kdengine.assembly import changed_data
from kdengine.assembly.build import needs
from kdengine.data import Augmentation, DatasetBundle, load_dataset
from kdengine.data.batches.loader import RESIDENT_BYTES, BatchLoader
from kdengine.data.bundle import Part, spread
from kdengine.data.wording import some
from kdengine.errors import BadInput, Problem
from kdengine.jobs.placement import whole_number
from kdengine.spec import DataSpec, ExperimentSpec
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

EVALUATION_BATCH = 256
# Other draws than the training batches of the same seed.
META_SEED = 1 << 40


def load_data(spec: ExperimentSpec, workspace: Workspace) -> DatasetBundle:
    """The data set of a spec, split and with held-out meta batches where the method asks for them."""
    data = spec.data
    return load_dataset(
        data.name,
        workspace.datasets,
        data.image_size,
        validation=data.validation,
        split_seed=data.split_seed,
        per_class=data.per_class,
        fraction=data.fraction if data.fraction < 1 else None,
        meta=needs(spec).meta,
        cache=workspace.cache,
        options=data.params.model_dump(),
    )


def load_data_of(run: RunDirectory, workspace: Workspace, *, accept: bool = False) -> DatasetBundle:
    """The data of a run as they are now; raises BadInput where they changed since, as `changed_data.compare`."""
    bundle = load_data(ExperimentSpec.from_yaml(run.spec_text()), workspace)
    changed_data.compare(run, bundle, accept=accept)
    return bundle


def training_batches(spec: ExperimentSpec, bundle: DatasetBundle, device: torch.device) -> BatchLoader:
    """Shuffled, augmented batches of the train part, as the method asks for them."""
    wanted = needs(spec)
    if wanted.sampler == "same-class-pairs":
        _check_pairs(spec.method.name, bundle)
    return _shuffled_batches(
        spec, bundle, device, bundle.train, spec.recipe.batch_size, spec.seed, wanted.views, wanted.sampler
    )


def meta_batches(spec: ExperimentSpec, bundle: DatasetBundle, device: torch.device) -> BatchLoader | None:
    """Shuffled, augmented batches for a method that learns how to teach: held out, or of the train part; else None."""
    part = bundle.train if needs(spec).meta_from_train else bundle.meta
    if part is None:
        return None
    return _shuffled_batches(spec, bundle, device, part, min(spec.recipe.batch_size, len(part)), spec.seed + META_SEED)


def _check_pairs(method: str, bundle: DatasetBundle) -> None:
    counts = np.bincount(bundle.train.labels, minlength=len(bundle.classes))
    single = [name for name, count in zip(bundle.classes, counts, strict=True) if count == 1]
    if single:
        message = f"{method} pairs images of a class, and a single training image is left of {some(single)}"
        raise BadInput(Problem("data", f"{message}; add images or set data.validation lower"))


def _shuffled_batches(
    spec: ExperimentSpec,
    bundle: DatasetBundle,
    device: torch.device,
    part: Part,
    batch_size: int,
    seed: int,
    views: int = 1,
    sampler: str = "uniform",
) -> BatchLoader:
    return BatchLoader(
        part,
        batch_size=batch_size,
        mean=bundle.mean,
        std=bundle.std,
        device=device,
        seed=seed,
        augmentation=augmentation(spec.data),
        shuffle=True,
        drop_last=True,
        views=views,
        channels_last=spec.runtime.in_channels_last,
        sampler=sampler,
        workers=spec.runtime.workers,
        resident_bytes=resident_bytes(device),
        compile=spec.runtime.compile,
    )


def resident_bytes(device: torch.device) -> int:
    """How much of a part may stay on the device: on a GPU a quarter of what is free there, on a CPU 2 GiB.

    ``KD_RESIDENT_MB`` sets another limit. Which images stay changes no number.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    usual = free // 4 if device.type == "cuda" else RESIDENT_BYTES
    return whole_number(os.environ, "KD_RESIDENT_MB", usual >> 20, least=0) << 20


def augmentation(data: DataSpec) -> Augmentation | None:
    """Shift by up to an eighth of the side, mirroring and the rest, as the spec says; None for images as they are."""
    if data.augmentation == "none" and not (data.resized_crop or data.rotation or data.cutout):
        return None
    shifted = data.augmentation != "none" and not data.resized_crop
    return Augmentation(
        crop_padding=data.image_size // 8 if shifted else 0,
        flip=data.augmentation == "crop_flip",
        resized_crop=data.resized_crop,
        rotation=data.rotation,
        cutout=data.cutout,
    )


def evaluation_batches(
    spec: ExperimentSpec, bundle: DatasetBundle, part: str, device: torch.device, images: int | None = None
) -> BatchLoader:
    """Plain batches, in order, of a part; of at most so many ``images``, spread evenly over it.

    The test part never stays on the device: it is gone through a few times at the end of a run, however large it is.
    """
    wanted: Part = getattr(bundle, part)
    limit = resident_bytes(device)
    passing = part == "test"
    workers = spec.runtime.workers
    if passing and workers is None and len(wanted) * spec.data.image_size**2 * 4 <= limit:
        workers = 0  # so few are read faster than processes start
    return BatchLoader(
        wanted if images is None else spread(wanted, images),
        batch_size=EVALUATION_BATCH,
        mean=bundle.mean,
        std=bundle.std,
        device=device,
        seed=0,
        augmentation=None,
        shuffle=False,
        drop_last=False,
        channels_last=spec.runtime.in_channels_last,
        workers=workers,
        resident_bytes=0 if passing else limit,
    )
