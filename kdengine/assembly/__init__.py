"""From a spec to the things it names: data, student, teacher, method, and what they may get wrong together."""

from kdengine.assembly.build import (
    build_backbone,
    build_method,
    device_of,
    has_exits,
    load_with_exits,
    needs,
    seeded_student,
)
from kdengine.assembly.checks import preflight
from kdengine.assembly.data import (
    augmentation,
    evaluation_batches,
    load_data,
    load_data_of,
    meta_batches,
    resident_bytes,
    training_batches,
)
from kdengine.assembly.logits import cache_saves_time, caches_logits, table_key, with_cached_logits
from kdengine.assembly.teacher import (
    TeacherSource,
    check_teacher_fits,
    check_teacher_run,
    find_finished,
    find_teacher,
    freeze_teacher,
    load_teacher,
)
from kdengine.assembly.trainer import assemble_trainer, in_layout

__all__ = [
    "TeacherSource",
    "assemble_trainer",
    "augmentation",
    "build_backbone",
    "build_method",
    "cache_saves_time",
    "caches_logits",
    "check_teacher_fits",
    "check_teacher_run",
    "device_of",
    "evaluation_batches",
    "find_finished",
    "find_teacher",
    "freeze_teacher",
    "has_exits",
    "in_layout",
    "load_data",
    "load_data_of",
    "load_teacher",
    "load_with_exits",
    "meta_batches",
    "needs",
    "preflight",
    "resident_bytes",
    "seeded_student",
    "table_key",
    "training_batches",
    "with_cached_logits",
]
