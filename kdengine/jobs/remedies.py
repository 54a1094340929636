"""Settings under which a run that ran out of memory would fit: each a change of its experiment. Needs no torch."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from urllib.parse import urlencode

from kdengine.jobs.gpu_memory import amount

Changes = dict[str, Any]
"""Dotted path of a setting -> its new value."""

MAX_HALVINGS = 3
"""So often the batch is halved in search of one that fits: each is measured anew, a second or two."""


class Remedy(TypedDict):
    """One way out, as ``status.json`` keeps it.

    ``label`` says what changes, ``note`` what that does to training and, where it was measured, to the memory; ``set``
    are the changes themselves.
    """

    label: str
    note: str
    set: Changes


class Room(NamedTuple):
    """What a card can still give, and what an experiment with some changes would take of it.

    Attributes:
        free: bytes for the whole run, its process's own share of CUDA taken off.
        total: bytes of the card.
        needs: changes -> bytes at the peak, measured; None where that could not be measured.
    """

    free: int
    total: int
    needs: Callable[[Changes], int | None]


def remedies(
    reason: str,
    spec: Mapping[str, Any],
    *,
    device: str = "",
    precisions: Sequence[str] = (),
    allowed: Callable[[Changes], bool] | None = None,
    room: Room | None = None,
) -> list[Remedy]:
    """What to change, the ways that keep the results closest first; [] where nothing real can be offered.

    Args:
        reason: class of the failure; only ``oom_gpu`` and ``oom_host`` have remedies.
        spec: the experiment as its snapshot has it; what is missing or damaged is not offered.
        device: where it ran, as its environment says.
        precisions: words of ``runtime.precision`` that save memory, there, against what it ran in.
        allowed: whether an experiment with these changes is one; None: nobody knows, and only what every version
            and method takes is offered.
        room: what was measured, if it was: then only what fits is offered.
    """
    if reason == "oom_gpu":
        found = [*_parts(spec, allowed, room), *_precision(precisions, room), *_batch(spec, room)]
    elif reason == "oom_host":
        found = [*_readers(spec, device), *_batch(spec, None)]
    else:
        return []
    return [each for each in found if allowed is None or allowed(each["set"])]


def for_teacher_too(found: Sequence[Remedy]) -> list[Remedy]:
    """What helps a teacher's run, for the experiment that trains it first; the page has one recipe for both."""
    return [{**each, "set": each["set"] | {f"teacher.spec.{k}": v for k, v in each["set"].items()}} for each in found]


def stored(status: Mapping[str, Any]) -> list[Remedy]:
    """The remedies in a status; what an earlier version or a damaged file holds in their place is passed over."""
    found = status.get("remedies")
    return [each for each in found if _is_remedy(each)] if isinstance(found, list) else []


def offered(status: Mapping[str, Any]) -> list[Remedy]:
    """Those of a run that stands failed for want of memory; [] for any other, whatever an attempt before it left."""
    return stored(status) if str(status.get("reason")).startswith("oom") else []


def words(remedy: Remedy) -> list[str]:
    """Its changes as ``path=value``."""
    return [f"{path}={value}" for path, value in remedy["set"].items()]


def address(run_id: str, remedy: Remedy) -> str:
    """The Launch page filled with the run and these changes."""
    return "/launch?" + urlencode([("clone", run_id), *(("set", word) for word in words(remedy))])


def command(spec_file: Path, remedy: Remedy) -> str:
    """The same for a shell."""
    changes = [part for word in words(remedy) for part in ("--set", word)]
    return shlex.join(["kd", "train", "--spec", str(spec_file), *changes])


# one kind each --------------------------------------------------------------------------------------------------------


def _parts(spec: Mapping[str, Any], allowed: Callable[[Changes], bool] | None, room: Room | None) -> Iterator[Remedy]:
    """The batch in parts, one after the other; not where the method relates the images of a batch."""
    batch, now = _number(spec, "recipe", "batch_size"), _number(spec, "recipe", "accumulate") or 1
    for parts in _doubled(now, batch):
        changes: Changes = {"recipe.accumulate": parts}
        if not _accumulates(changes, allowed):
            return
        size = _note_of(room, changes)
        if size is not None:
            note = f"Batch and learning rate keep their meaning; batch normalisation sees a part at a time. {size}"
            yield {"label": f"the batch of {batch} in {parts} parts", "note": note.strip(), "set": changes}
            return


def _accumulates(changes: Changes, allowed: Callable[[Changes], bool] | None) -> bool:
    """Whether this version splits batches, and this method may be given split ones."""
    return allowed is not None and allowed(changes)


def _precision(precisions: Sequence[str], room: Room | None) -> Iterator[Remedy]:
    for word in precisions:
        size = _note_of(room, {"runtime.precision": word})
        if size is not None:
            note = f"What is kept for the backward pass takes about half. {size}"
            yield {"label": f"half precision, {word}", "note": note.strip(), "set": {"runtime.precision": word}}
            return


def _batch(spec: Mapping[str, Any], room: Room | None) -> Iterator[Remedy]:
    batch = _number(spec, "recipe", "batch_size")
    for parts in _doubled(1, batch):
        smaller = batch // parts // 2 * 2  # even: some samplers pair the two halves of a batch
        size = _note_of(room, {"recipe.batch_size": smaller})
        if size is not None:
            share = {2: "half", 4: "a quarter of", 8: "an eighth of"}[parts]
            note = f"{_meaning_of_rate(spec, smaller / batch)} {size}"
            changes: Changes = {"recipe.batch_size": smaller}
            yield {"label": f"{share} the batch, {smaller} for {batch}", "note": note.strip(), "set": changes}
            return


def _readers(spec: Mapping[str, Any], device: str) -> Iterator[Remedy]:
    """Without processes that read ahead; where the run names none, only a GPU has some."""
    runtime = spec.get("runtime")
    count = runtime.get("workers") if isinstance(runtime, Mapping) else 0
    if (isinstance(count, int) and count > 0) or (count is None and device.startswith("cuda")):
        note = "Slower where images are read from the disk; the results stay the same."
        yield {"label": "no processes that read ahead", "note": note, "set": {"runtime.workers": 0}}


def _meaning_of_rate(spec: Mapping[str, Any], share: float) -> str:
    recipe = spec["recipe"]
    rate, steps = recipe.get("lr"), f"{1 / share:.2g} times as many steps"
    if not isinstance(rate, int | float):
        return f"The learning rate stays for {steps}: its meaning changes."
    if recipe.get("optimizer") != "sgd":
        return f"The learning rate stays {rate:g} for {steps}: its meaning changes."
    same = f"{rate * share:.3g} would act as before (linear scaling, Goyal et al., 2017)"
    return f"The learning rate stays {rate:g} for {steps}: its meaning changes, {same}."


# measuring ------------------------------------------------------------------------------------------------------------


def _note_of(room: Room | None, changes: Changes) -> str | None:
    """What is known of the memory that it takes: "" for nothing, None where it would not fit either."""
    needed = room.needs(changes) if room is not None else None
    if room is None or needed is None:
        return ""
    if needed > room.free:
        return None
    return f"Would need about {amount(needed)} of {amount(room.total)}, {amount(room.free)} of them to be had."


def _doubled(now: int, batch: int) -> Iterator[int]:
    """Into how many parts the batch may go: twice as many as now, four times...; each of two images or more."""
    for power in range(1, MAX_HALVINGS + 1):
        if batch // (now << power) >= 2:
            yield now << power


def _number(spec: Mapping[str, Any], part: str, name: str) -> int:
    """0 where there is none."""
    settings = spec.get(part)
    value = settings.get(name) if isinstance(settings, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _is_remedy(found: object) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("set"), dict) or not found["set"]:
        return False
    plain = all(isinstance(value, int | float | str) for value in found["set"].values())
    return plain and isinstance(found.get("label"), str) and isinstance(found.get("note"), str)
