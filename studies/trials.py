"""The trials of a study as they stand: read from Optuna's storage, the queue and the run folders; nothing is kept."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kdengine.workspace import Workspace
from kdengine.workspace.rundir import RunDirectory
from studies import space
from studies.plan import COSTS, LEARNT, StudyPlan
from studies.samplers import EXHAUSTED
from studies.space import Value
from studies.storage import ENDING, notes, plan_of

# What a trial's user attributes are called.
ROOT, RETRY_OF, OWNER, BEGUN, PRUNED_AT, SURPLUS = "root", "retry_of", "owner", "begun", "pruned_at", "surplus"
EPOCHS, SECONDS, COST, WHY, ORIGIN = "epochs", "seconds", "cost", "why", "origin"
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
USED = tuple(state.name.lower() for state in COUNTED)  # the same as a row's state


@dataclass(frozen=True)
class TrialRow:
    """One trial for a reader; a trial that died and was taken up again is one row, its last try.

    Attributes:
        number: of its first try; its runs are named by it.
        state: "complete", "pruned", "running", "waiting" or "fail".
        values: of the metrics, in their order; empty before its end.
        params: dotted path -> value.
        curve: epoch -> the first metric, as reported.
        runs: ids of its runs, one for each seed.
        epochs: trained, over all seeds.
        seconds: of all its runs.
        tries: how often it was begun.
        origin: "default", "earlier study", "by hand" or "" where the sampler chose.
        why: it failed or was not trained.
        note: what a person said of it.
    """

    number: int
    state: str
    values: tuple[float, ...]
    params: dict[str, Value]
    curve: dict[int, float]
    runs: tuple[str, ...]
    epochs: int
    seconds: float
    tries: int
    origin: str
    why: str
    note: str = ""


@dataclass(frozen=True)
class StudyView:
    """A study as it stands.

    Attributes:
        plan: with its present budget.
        trials: in the order they were begun.
        ending: whether no further trial begins.
        exhausted: whether the grid has no point left.
    """

    plan: StudyPlan
    trials: tuple[TrialRow, ...]
    ending: bool = False
    exhausted: bool = False

    def trial(self, number: int) -> TrialRow | None:
        """The trial of that number; None where there is none."""
        return next((row for row in self.trials if row.number == number), None)

    def count(self, *states: str) -> int:
        """How many trials are in one of the states."""
        return sum(row.state in states for row in self.trials)

    @property
    def counted(self) -> int:
        """Trials that use up the budget."""
        return self.count(*USED)

    @property
    def _complete(self) -> list[TrialRow]:
        return [row for row in self.trials if row.state == "complete"]

    @property
    def best(self) -> TrialRow | None:
        """The complete trial with the best first metric; of equals the first."""
        return max(self._complete, key=lambda row: self.plan.signs[0] * row.values[0], default=None)

    @property
    def default(self) -> TrialRow | None:
        """The trial of the experiment's own values."""
        return next((row for row in self.trials if row.origin == DEFAULT), None)

    @cached_property
    def front(self) -> frozenset[int]:
        """Numbers of the complete trials that no other beats in every metric."""
        complete = self._complete

        def beats(one: TrialRow, other: TrialRow) -> bool:
            gaps = [sign * (a - b) for sign, a, b in zip(self.plan.signs, one.values, other.values, strict=True)]
            return min(gaps) >= 0 and max(gaps) > 0

        return frozenset(row.number for row in complete if not any(beats(other, row) for other in complete))

    @property
    def epochs_run(self) -> int:
        """Epochs trained by the counted trials."""
        return sum(row.epochs for row in self.trials if row.state in USED)

    @property
    def saved(self) -> float:
        """Share (0..1) of the epochs of the counted trials that pruning spared."""
        return 1 - self.epochs_run / self.epochs_planned if self.epochs_planned else 0.0

    @property
    def epochs_planned(self) -> int:
        """Epochs that the counted trials would have taken without pruning."""
        return self.counted * int(self.plan.experiment["recipe"]["epochs"]) * len(self.plan.seeds)


DEFAULT, EARLIER, BY_HAND = "default", "earlier study", "by hand"


def view(study: Study, workspace: Workspace, trials: Sequence[FrozenTrial] | None = None) -> StudyView:
    """Reads a study, its ``trials`` too unless they were read; `reachable` says in words what may go wrong."""
    plan = plan_of(study)
    trials = study.get_trials(deepcopy=False) if trials is None else trials
    by_root: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if not trial.user_attrs.get(SURPLUS):
            by_root.setdefault(root_of(trial), []).append(trial)
    said = notes(study)
    rows = tuple(_row(root, tries, plan, workspace, said.get(root, "")) for root, tries in sorted(by_root.items()))
    found = study.user_attrs
    return StudyView(plan, rows, bool(found.get(ENDING)), bool(found.get(EXHAUSTED)))


def root_of(trial: FrozenTrial) -> int:
    """Number of its first try, which names its runs."""
    return int(trial.user_attrs.get(ROOT, trial.number))


def _row(root: int, tries: Sequence[FrozenTrial], plan: StudyPlan, workspace: Workspace, note: str) -> TrialRow:
    last = tries[-1]
    runs = tuple(plan.run_id(root, seed) for seed in plan.seeds)
    more = last.user_attrs
    epochs, seconds = more.get(EPOCHS), more.get(SECONDS)
    if epochs is None:
        progress = [run_progress(workspace.run(run)) for run in runs]
        epochs, seconds = sum(done for done, _ in progress), sum(spent for _, spent in progress)
    curve = {step: value for one in tries for step, value in one.intermediate_values.items()}
    params = last.params or last.system_attrs.get("fixed_params", {}) or tries[0].params
    origin = next((one.user_attrs[ORIGIN] for one in tries if ORIGIN in one.user_attrs), "")
    values = tuple(last.values) if last.state == TrialState.COMPLETE else ()
    begun = sum(one.state != TrialState.WAITING for one in tries)
    return TrialRow(
        root, last.state.name.lower(), values, dict(params), curve, runs, int(epochs), float(seconds or 0), begun,
        origin, str(more.get(WHY, "")), note,
    )  # fmt: skip


# from the runs -------------------------------------------------------------------------------------------------------


def run_progress(run: RunDirectory) -> tuple[int, float]:
    """Epochs trained so far, and seconds of its attempts."""
    epochs = int((run.status().get("progress") or {}).get("epoch") or 0)
    return epochs, seconds_of(run)


def seconds_of(run: RunDirectory) -> float:
    """Seconds in which a run was at work: of each attempt from its start to its last event."""
    total, begun, last = 0.0, None, 0.0
    for event in run.events():
        if event["kind"] == "start":
            total += last - begun if begun is not None else 0.0
            begun = event["time"]
        last = event["time"]
    return total + (last - begun if begun is not None else 0.0)


def curve_of(runs: Sequence[RunDirectory], metric: str) -> dict[int, float]:
    """The metric on the validation images at each epoch that all runs have reached, their mean."""
    curves = [{event["epoch"]: event["validation"][metric] for event in run.latest("epoch", "epoch")} for run in runs]
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {epoch: statistics.fmean(curve[epoch] for curve in curves) for epoch in sorted(common)}


def values_of(runs: Sequence[RunDirectory], plan: StudyPlan, cost: Mapping[str, float]) -> list[float]:
    """The metrics of finished runs, means over them, at the epoch whose student is kept: the best by validation."""
    values = []
    for metric in plan.metrics:
        if metric in COSTS:
            values.append(float(cost[metric]))
            continue
        assert metric in LEARNT
        values.append(statistics.fmean(_kept(run)[metric] for run in runs))
    return values


def _kept(run: RunDirectory) -> dict[str, float]:
    best = run.status()["best"]["epoch"]
    return next(event["validation"] for event in run.latest("epoch", "epoch") if event["epoch"] == best)


def params_of(values: Mapping[str, Value], plan: StudyPlan) -> dict[str, Value]:
    """Those of a mapping that this study searches, where the ranges hold them."""
    known = {dimension.field for dimension in plan.searched}
    return {path: value for path, value in values.items() if path in known and plan.holds(path, value)}


def starting_values(plan: StudyPlan) -> dict[str, Value]:
    """The experiment's own values, within the ranges."""
    return space.starting_point(plan.searched, plan.experiment)
