"""Memory that training takes at its peak."""

from __future__ import annotations

from torch import Tensor

from kdengine import assembly
from kdengine.evaluation.cost import size_in_bytes
from kdengine.forecast.made_up import Counts
from kdengine.forecast.steps import Steps
from kdengine.spec import ExperimentSpec
from kdengine.training.hardware import pick_device
from kdengine.training.loop import Trainer


def memory(trainer: Trainer, spec: ExperimentSpec, counts: Counts, steps: Steps, allocated: int) -> int:
    """Bytes at the peak of a full step."""
    fixed = _fixed_bytes(trainer)
    images = _resident_bytes(spec, counts)
    batch, part = spec.recipe.batch_size, spec.recipe.part_size
    views = assembly.needs(spec).views * 3 * spec.data.image_size**2 * 4
    if steps.peak is None:
        return round(fixed + images + batch * views + part * steps.bytes_per_image)
    few = len(trainer.train_batches.part)  # type: ignore[attr-defined]
    moving = steps.peak - allocated - fixed - _resident_bytes(spec, counts._replace(train=few, validation=0))
    return round(fixed + images + max(0, moving) * part / steps.batch_size + (batch - part) * views)


def _fixed_bytes(trainer: Trainer) -> int:
    """Weights, gradients, optimiser, EMA and teacher, whatever the batch."""
    optimizer = [value for state in trainer.optimizer.state.values() for value in state.values()]
    tensors = [value for value in optimizer if isinstance(value, Tensor)]
    tensors += [parameter for parameter in trainer.module.parameters() if parameter.requires_grad]  # its gradient
    networks = [trainer.module, *([] if trainer.ema is None else [trainer.ema])]
    stored = sum(map(size_in_bytes, networks)) + (trainer.teacher.stored_bytes if trainer.teacher is not None else 0)
    return stored + sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _resident_bytes(spec: ExperimentSpec, counts: Counts) -> int:
    """Images of train and validation as the loaders hold them, four bytes a pixel; none of a part that is too big."""
    size = spec.data.image_size
    augmentation = assembly.augmentation(spec.data)
    padded = size + 2 * augmentation.crop_padding if augmentation else size
    parts = (counts.train * padded**2 * 4, counts.validation * size**2 * 4)
    limit = assembly.resident_bytes(pick_device(spec.runtime.device))
    return sum(needed for needed in parts if needed <= limit)
