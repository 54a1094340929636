"""Whether a run reads its teacher's logits from the cache, and the teacher that does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from kdengine.assembly.build import needs
from kdengine.assembly.teacher import TeacherSource
from kdengine.data import DatasetBundle
from kdengine.data.batches.loader import BatchLoader
from kdengine.models.backbone import Shapes
from kdengine.models.stored import read_card
from kdengine.spec import ExperimentSpec
from kdengine.teachers.records import Imported
from kdengine.training.cached_logits import MAX_BYTES, CachedTeacher, TableKey, cacheable, filled_share, open_table
from kdengine.training.hardware import choose_precision
from kdengine.training.teacher import FrozenTeacher
from kdengine.workspace import Workspace, files


def caches_logits(spec: ExperimentSpec, batches: BatchLoader) -> bool:
    """Whether the teacher's logits for these batches are worth caching.

    Not for methods that read its maps, for mixed images, and, unless ``runtime.replay`` is "on", for views that no
    other step of the run can meet again.
    """
    mode, recipe = spec.runtime.replay, spec.recipe
    comes_again = batches.view_count is not None or mode == "on"
    return mode != "off" and comes_again and cacheable(needs(spec)) and not recipe.mixup and not recipe.cutmix


def cache_saves_time(spec: ExperimentSpec, device: torch.device, filled: float) -> bool:
    """Whether reading cached logits saves time, of which a share of 0..1 is there, where they are worth caching.

    On a GPU only when all are: one missing row has the whole batch computed, and the look-up costs more than is saved.
    """
    return device.type == "cpu" or spec.runtime.replay == "on" or filled == 1


def table_key(
    spec: ExperimentSpec, bundle: DatasetBundle, source: TeacherSource, teacher: Shapes, batches: BatchLoader
) -> TableKey | None:
    """The table that the teacher's logits belong to; None where they are not worth caching, or would grow too large.

    Args:
        source: where the teacher lies, and ``teacher`` the shapes of its outputs.
    """
    if not caches_logits(spec, batches):
        return None
    finite = batches.view_count is not None
    views = f"{batches.augmentation}" if finite else f"{batches.augmentation}, seed {spec.seed}, {batches.views} views"
    precision = choose_precision(spec.runtime.precision, batches.device)
    key = TableKey(
        teacher=f"{_digest(source)}, shown images normalised by {bundle.mean}, {bundle.std}",
        data=bundle.digest,
        samples=len(bundle.train),
        views=views,
        slots=batches.view_count or spec.recipe.epochs * batches.views,
        width=teacher.classes + (teacher.embedding if "embedding" in needs(spec).teacher else 0),
        precision=precision.of_teacher,
    )
    return key if key.bytes <= MAX_BYTES else None


@contextmanager
def with_cached_logits(
    spec: ExperimentSpec,
    bundle: DatasetBundle,
    source: TeacherSource | None,
    teacher: FrozenTeacher | None,
    batches: BatchLoader,
    workspace: Workspace,
    faster: Callable[[CachedTeacher, BatchLoader], bool] = lambda quick, batches: True,
) -> Iterator[FrozenTeacher | CachedTeacher | None]:
    """The teacher of a run, with its cached logits where they are worth it, for as long as the run trains.

    Args:
        faster: whether reading is faster than computing, on this machine.
    """
    key = None
    if source is not None and teacher is not None:
        key = table_key(spec, bundle, source, teacher.shapes(), batches)
    if key is None or teacher is None:
        yield teacher
        return
    if not cache_saves_time(spec, batches.device, filled_share(workspace.cache, key)):
        yield teacher
        return
    with open_table(workspace.cache, key) as table:
        quick = CachedTeacher(teacher, table)
        if spec.runtime.replay != "on" and not faster(quick, batches):
            yield teacher
            return
        # Its own seed: which rows are tried must differ from start to start, and draw on nothing else.
        yield quick if quick.check(batches.views_at, time.time_ns()) or table.writable else teacher


def _digest(source: TeacherSource) -> str:
    """Of everything that decides a teacher's logits: weights, and the normalisation it wants."""
    if isinstance(source, Imported):
        return source.digest
    card = read_card(source)
    return f"{files.digest(source.student_file)} of {card.model} {card.options}, trained with {card.mean}, {card.std}"
