"""What makes the numbers of a run hard to believe, each in one sentence with what helps.

Looked for in what a run has written; nothing here is computed anew. A finished run keeps what was found in its status,
for its page, the tables of a comparison and the card of an export.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kdengine.workspace.rundir import RunDirectory

FINDINGS = "findings"
"""In the status of a finished run: pairs of what was found and what helps."""
LOOKS = 6
"""Fewest steps or epochs that say anything."""
RECENT = 50
FEW_STEPS = 100
"""Below this a schedule with warm-up and decay has no room: our choice, from runs on digits."""
FLAT = 0.01
"""Share of the first loss by which a loss must change to be said to move."""
SMALL_TERM = 0.001
DOMINATING = 100.0
TELLS = 0.05
"""Two standard errors of the validation accuracy above which it is said to be too small: methods differ by one or two
points. Our choice. Of two runs on the same images the standard error of the difference is about that of one of them
(their errors agree on half of the images or more), so the same number says what a search can tell apart."""
LONG_RUN = 1_200_000
"""Images that a run sees, below which the weights of public recipes are said to be for longer ones: a tenth of theirs,
240 epochs of CIFAR's 50,000. Our choice, from validation accuracy in short runs (docs/results/index.md)."""
WEIGHTS_OF_LONG_RUNS = "weights_of_long_runs"
"""In a status: title, value and what is for short runs, of each such weight that was left as it is."""
BETTER = 0.002
"""How far (0..1) a student must be above its teacher to be said to be better."""


class Finding(NamedTuple):
    """What was found, and what may be done about it."""

    what: str
    remedy: str


class Record(NamedTuple):
    """What a run has written, as far as it matters here.

    Attributes:
        status: its status.json.
        steps: its events of that kind, in order.
        teacher: validation accuracy of its teacher, 0..1; None without one, or where nobody knows it.
    """

    status: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    teacher: float | None = None


def findings(record: Record) -> list[Finding]:
    """All that was found, the gravest first."""
    looks = (_guesses, _flat, _few_steps, _few_validation_images, _teacher_behind, _long_run_weights, _terms)
    return [finding for look in looks for finding in look(record)]


def of_run(run: RunDirectory) -> list[Finding]:
    """The same, read from the folder of a run."""
    return findings(Record(run.status(), run.latest("step", "step"), run.teacher_validation()))


def kept(status: Mapping[str, Any]) -> list[Finding]:
    """What a finished run's status says was found; [] for a run of before, or a damaged list."""
    found = status.get(FINDINGS)
    pairs = found if isinstance(found, list) else []
    return [Finding(*map(str, pair)) for pair in pairs if isinstance(pair, list) and len(pair) == 2]


def _guesses(record: Record) -> Iterator[Finding]:
    """Half of the epochs are over, and the best validation accuracy is within two standard errors of chance."""
    data, progress = record.status.get("data") or {}, record.status.get("progress") or {}
    best = (record.status.get("best") or {}).get("accuracy")
    classes, images = int(data.get("classes") or 0), int(data.get("validation") or 0)
    if best is None or classes < 2 or not images or 2 * progress.get("epoch", 0) < progress.get("epochs", 1):
        return
    chance = 1 / classes
    limit = chance + 2 * math.sqrt(chance * (1 - chance) / images)
    if best <= limit < 1:  # with a handful of images nothing can be told from guessing
        yield Finding(
            f"Its best validation accuracy, {_percent(best)}, is that of guessing among {classes} classes.",
            "Nothing is learnt: try another learning rate or more epochs, and look whether the labels are right.",
        )


def _flat(record: Record) -> Iterator[Finding]:
    losses = [float(event["loss"]) for event in record.steps if _is_number(event.get("loss"))]
    if len(losses) < 3 * LOOKS:
        return
    third = len(losses) // 3
    first, last = statistics.median(losses[:third]), statistics.median(losses[-third:])
    if abs(last - first) < FLAT * abs(first):
        yield Finding(
            f"The loss has hardly moved: {first:.3g} at first, {last:.3g} now.",
            "Raise the learning rate or the weights of the loss terms, or train longer.",
        )


def _few_steps(record: Record) -> Iterator[Finding]:
    progress = record.status.get("progress") or {}
    steps = int(progress.get("steps") or 0) * int(progress.get("epochs") or 0)
    if 0 < steps < FEW_STEPS:
        yield Finding(
            f"The whole run is {steps} steps.",
            "That is fewer than a schedule with warm-up and decay needs: more epochs, or a smaller batch.",
        )


def resolution(accuracy: float, images: int) -> float:
    """Two standard errors (0..1) of an accuracy on so many images, never zero (Agresti and Coull 1998)."""
    share = (accuracy * images + 2) / (images + 4)
    return 2 * math.sqrt(share * (1 - share) / (images + 4))


def _few_validation_images(record: Record) -> Iterator[Finding]:
    best = (record.status.get("best") or {}).get("accuracy")
    images = int((record.status.get("data") or {}).get("validation") or 0)
    if best is None or not images:
        return
    tells = resolution(best, images)
    if tells > TELLS:
        yield Finding(
            f"{images} validation images cannot tell accuracies apart that differ by less than {100 * tells:.0f} "
            "points.",
            "The best epoch and the settings of a search are chosen by them: hold more out (data.validation), or "
            "believe only what several seeds say on test.",
        )


def _teacher_behind(record: Record) -> Iterator[Finding]:
    best = (record.status.get("best") or {}).get("accuracy")
    if best is not None and record.teacher is not None and best > record.teacher + BETTER:
        yield Finding(
            f"The student ({_percent(best)}) is better than the teacher ({_percent(record.teacher)}).",
            "A stronger teacher may help more: train it longer, or choose a larger network.",
        )


def _long_run_weights(record: Record) -> Iterator[Finding]:
    data, progress = record.status.get("data") or {}, record.status.get("progress") or {}
    images = int(data.get("train") or 0) * int(progress.get("epochs") or 0)
    if not 0 < images < LONG_RUN:
        return
    for each in record.status.get(WEIGHTS_OF_LONG_RUNS) or ():
        if not (isinstance(each, list | tuple) and len(each) == 3 and all(map(_is_number, each[1:]))):
            continue  # damaged
        title, value, short = each
        yield Finding(
            f"{title} is {value:g}, as in public recipes for 12 million images; this run sees {images:,}.",
            f"In short runs {short:g} did better on validation: try it, or let a search find one.",
        )


def _terms(record: Record) -> Iterator[Finding]:
    """A term beside which no other counts; else those that hardly count themselves."""
    shares = dict(_shares(record))
    dominating = [name for name, known in shares.items() if min(known) >= DOMINATING / (1 + DOMINATING)]
    for name in dominating:
        yield Finding(
            f"The loss term {_words(name)} is more than a hundred times all others together.",
            "The others teach nothing beside it: lower its weight, or raise theirs.",
        )
    for name, known in shares.items():
        if not dominating and max(known) < SMALL_TERM:
            yield Finding(
                f"The loss term {_words(name)} is less than a thousandth of the loss.",
                "It hardly counts: raise its weight, or see by the raw loss whether it is learnt already.",
            )


def _shares(record: Record) -> Iterator[tuple[str, list[float]]]:
    """Of each loss term its share of the loss, in the last steps that say so."""
    steps = record.steps[-RECENT:]
    if len(steps) < LOOKS:
        return
    for name in steps[-1].get("terms") or {}:
        known = [share for share in (_share(event, name) for event in steps) if share is not None]
        if known:
            yield name, known


def _share(event: Mapping[str, Any], name: str) -> float | None:
    terms = {key: abs((each or {}).get("weighted") or 0.0) for key, each in (event.get("terms") or {}).items()}
    whole = sum(terms.values())
    return terms.get(name, 0.0) / whole if len(terms) > 1 and whole > 0 and math.isfinite(whole) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
