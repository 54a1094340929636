"""How a race is told, in a shell and on its page."""

from __future__ import annotations

from typing import NamedTuple

from kdengine.comparison.plan import ALONE
from kdengine.comparison.statistics import Difference, seeds_to_decide
from kdengine.units import duration
from kdengine.workspace.states import State
from studies.race import course
from studies.race.plan import RacePlan
from studies.race.standing import Standing, dropped, finalists

THE_ALONE = "the student alone"


class RaceRow(NamedTuple):
    """A method's way through the race.

    Attributes:
        method: its name.
        heats: validation accuracy in each heat, "" where it did not run.
        tuned: the best trial's validation accuracy.
        final: mean test accuracy on the fresh seeds.
        gain: over the student alone, with its interval.
        fate: "first", "in the final", "out in heat 1", why it failed.
    """

    method: str
    heats: tuple[str, ...]
    tuned: str
    final: str
    gain: str
    fate: str

    @property
    def cells(self) -> tuple[str, ...]:
        """In the order of the table."""
        return (self.method, *self.heats, self.tuned, self.final, self.gain, self.fate)


def phase(now: Standing) -> str:
    """What happens at present, in a few words."""
    if now.final is not None:
        return f"final, {now.final.count(State.FINISHED)} of {len(now.final.cells)} runs"
    if now.tuning is not None:
        done = sum(not each.under_way for each in now.searches)
        return f"tuning, {done} of {len(now.searches)} searches"
    if now.heats:
        last = now.heats[-1]
        return f"heat {len(now.heats)} of {len(now.race.heats)}, {len(last.accuracy)} of {len(last.now.cells)} runs"
    return "begins"


def course_of(race: RacePlan) -> list[str]:
    """What will happen, a sentence for each stage."""
    lines = []
    for number, heat in enumerate(race.heats, 1):
        who, stay = f"{heat.entrants} methods and {THE_ALONE}", f"the best {heat.stay} stay"
        lines.append(f"Heat {number}: {who}, {_epochs(heat.epochs)} each; {stay}.")
    survivors = min(len(race.methods), course.SURVIVORS)
    lines.append(f"Tuning: {survivors} methods and {THE_ALONE}, each for the same number of epochs.")
    best = min(survivors, course.FINALISTS)
    lines.append(f"Final: the best {best} and {THE_ALONE}, {race.seeds} fresh seeds of {_epochs(race.epochs)}.")
    return lines


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count > 1 else ''}"


def estimate(race: RacePlan, slots: int) -> str:
    """What the hours are spent on, from the forecast of an epoch of each method."""
    needed = course.least_seconds(race.rates, ALONE, race.epochs, race.seeds)
    have = 3600 * race.hours * slots
    if needed > have:
        return f"{duration(needed / slots)} are the least that this takes here; it has {duration(have / slots)}."
    return f"All methods once and the final take about {duration(needed / slots)}; tuning and more seeds get the rest."


def sentence(now: Standing) -> str:
    """How it ended, in one sentence; "" before that."""
    verdict = now.verdict
    if now.final is None or not now.over:
        return ""
    if verdict is None:
        return "No method can be compared with the student alone: too few runs of the final have finished."
    gain = verdict.gain
    points = interval(gain)
    if verdict.won:
        return (
            f"{verdict.first} is the best way found here: {points} points over {THE_ALONE}, "
            f"{_accuracy(now, verdict.first)} against {_accuracy(now, ALONE)}, {gain.n} seeds."
        )
    needed = seeds_to_decide(gain.mean, gain.deviation) if gain.n > 1 and gain.mean > 0 else None
    more = f" About {needed} seeds would decide." if needed else ""
    return (
        f"No method is shown to be better than {THE_ALONE}: {verdict.first}, the best by validation, "
        f"gains {points} points with {gain.n} seeds.{more}"
    )


def interval(gain: Difference) -> str:
    """+1.84 [+1.20, +2.48]."""
    ends = f" [{gain.low:+.2f}, {gain.high:+.2f}]" if gain.n > 1 else ""
    return f"{gain.mean:+.2f}{ends}"


def table(now: Standing) -> list[RaceRow]:
    """Every method's way, those that came furthest first."""
    in_final = finalists(now.final.plan) if now.final is not None else []
    order = [*in_final, *now.survivors]
    for heat in reversed(now.heats):
        order += course.ranked(heat.accuracy)
    order += now.race.methods
    if now.verdict is not None:
        order.insert(0, now.verdict.first)
    names = [name for name in dict.fromkeys(order) if name != ALONE]
    return [_row(now, name) for name in (*names, ALONE)]


def _row(now: Standing, name: str) -> RaceRow:
    heats = tuple(f"{100 * heat.accuracy[name]:.1f} %" if name in heat.accuracy else "" for heat in now.heats)
    heats += ("",) * (len(now.race.heats) - len(heats))
    found = now.tuning.tuned(name) if now.tuning is not None else None
    tuned = f"{100 * found.search.validation:.1f} %" if found is not None and found.search is not None else ""
    return RaceRow(name, heats, tuned, _accuracy(now, name), _gain(now, name), _fate(now, name))


def _accuracy(now: Standing, name: str) -> str:
    own = now.accuracies.get(name)
    return f"{sum(test for _, test in own.values()) / len(own):.1f} %" if own else ""


def _gain(now: Standing, name: str) -> str:
    found = now.finalist(name) if name != ALONE else None
    return interval(found.gain) if found is not None else ""


def _fate(now: Standing, name: str) -> str:
    if name == ALONE:
        return "measured against"
    for number, heat in enumerate(now.heats, 1):
        if name in heat.dropped:
            return heat.dropped[name]
        if heat.over and name in heat.accuracy and name not in heat.staying:
            return f"out in heat {number}"
    if now.tuning is not None and name in (lost := dropped(now.tuning, now.searches)):
        return lost[name]
    if now.final is None:
        return "in the race"
    if name not in finalists(now.final.plan):
        return "out after tuning"
    first = now.verdict is not None and now.verdict.first == name
    return ("winner" if now.verdict and now.verdict.won else "first, not shown") if first else "in the final"
