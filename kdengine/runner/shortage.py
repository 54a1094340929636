"""After a GPU ran out of memory, in the process that it happened to: what was used, and what would fit, measured."""

from __future__ import annotations

import gc
import logging
import time
import traceback
from typing import Any, NamedTuple

import torch

from kdengine.assembly import device_of
from kdengine.errors import BadInput
from kdengine.forecast import forecast
from kdengine.jobs.gpu_memory import amount
from kdengine.jobs.remedies import Changes, Remedy, Room, for_teacher_too, remedies, stored, words
from kdengine.spec import ExperimentSpec, with_settings
from kdengine.training.hardware import choose_precision
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory

log = logging.getLogger(__name__)

TRAINS_TEACHER = "training the teacher"
"""Phase of a run whose teacher is trained first, as a run of its own."""


class Outcome(NamedTuple):
    """What can be said of a shortage beside the words of the exception.

    Attributes:
        used: how the run stood: batch, precision, most memory at a time; "" where that is not known.
        remedies: what would fit, for ``status.json``.
    """

    used: str = ""
    remedies: list[Remedy] = []  # noqa: RUF012 - never changed


def look_back(
    error: BaseException, reason: str, spec: ExperimentSpec, folder: RunDirectory, workspace: Workspace
) -> Outcome:
    """What a run used and what it could do with less. Lets go of all that the failed attempt held on the GPU.

    Args:
        error: what ended the run; the variables of the frames it came through are cleared.
        reason: its class, ``oom_gpu`` or ``oom_host``; for any other nothing is looked at.
        spec, folder: of the run.
        workspace: where its teacher is.
    """
    if not reason.startswith("oom"):
        return Outcome()
    status = folder.status()
    if status.get("phase") == TRAINS_TEACHER and status.get("teacher_run"):
        of_teacher = stored(workspace.run(status["teacher_run"]).status())
        return Outcome(f"it trained its teacher, run {status['teacher_run']}", for_teacher_too(of_teacher))
    mapping, named = spec.model_dump(mode="json"), str(folder.environment().get("device") or "")

    def allowed(changes: Changes) -> bool:
        return changed(spec, changes) is not None

    if reason == "oom_host" or not named.startswith("cuda"):
        return Outcome("", remedies(reason, mapping, device=named, allowed=allowed))
    try:
        device = device_of(spec)
        used = _used(spec, device)
        _let_go(error)
        free, total = torch.cuda.mem_get_info(device)
        folder.update_status(phase="measuring what would fit", progress_at=time.time())
    except Exception as trouble:  # whatever a failed card raises: why the run ended must be said all the same
        log.warning("the GPU cannot be asked what would fit: %s", trouble)
        return Outcome("", remedies(reason, mapping, device=named, allowed=allowed))
    room = Room(free, total, lambda changes: _needs(spec, changes, workspace, device))
    found = remedies(
        reason, mapping, device=named, precisions=_smaller_precisions(spec, device), allowed=allowed, room=room
    )
    return Outcome(used, found)


def report(folder: RunDirectory, found: list[Remedy]) -> None:
    """Writes the remedies to the log, as a shell takes them."""
    for each in found:
        changes = " ".join(f"--set {word}" for word in words(each))
        log.info("%s: kd train --spec %s %s", each["label"], folder.spec_file, changes)


def _used(spec: ExperimentSpec, device: torch.device) -> str:
    peak = torch.cuda.max_memory_allocated(device)
    precision = choose_precision(spec.runtime.precision, device).word
    most = f", at most {amount(peak)} at a time" if peak else ""
    return f"batch {spec.recipe.batch_size} in {precision}{most}"


def _smaller_precisions(spec: ExperimentSpec, device: torch.device) -> list[str]:
    """What keeps half as many bytes as the run did and is fast on this card; tf32 keeps as many as fp32."""
    if choose_precision(spec.runtime.precision, device).student is not None:
        return []
    auto = choose_precision("auto", device)
    return [auto.word] if auto.student is not None else []


def _needs(spec: ExperimentSpec, changes: Changes, workspace: Workspace, device: torch.device) -> int | None:
    """Bytes at the peak of training with these changes, from a few steps on this card; None where none can be made."""
    smaller = changed(spec, changes)
    if smaller is None:
        return None
    try:
        return forecast(smaller, workspace, device=str(device)).memory_bytes
    except Exception as trouble:  # as above
        log.warning("what %s would need could not be measured: %s", changes, trouble)
        return None
    finally:
        _empty()


def changed(spec: ExperimentSpec, changes: Changes) -> ExperimentSpec | None:
    """The experiment with these changes; None where there is no such setting or the method refuses it."""
    assignments: list[str] = [f"{path}={value}" for path, value in changes.items()]
    mapping: dict[str, Any] = spec.model_dump(mode="json")
    try:
        return ExperimentSpec.from_mapping(with_settings(mapping, assignments))
    except BadInput:
        return None


def _let_go(error: BaseException | None) -> None:
    """Frees what the frames of an exception, and of those behind it, still hold: networks, optimiser, batches."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    _empty()


def _empty() -> None:
    gc.collect()
    torch.cuda.empty_cache()
