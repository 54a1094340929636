"""Optuna's own figures in the style of the others: which settings matter, where the good values lie, what it costs."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

from optuna import create_study, visualization
from optuna.importance import get_param_importances
from optuna.storages import InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kdengine.figures import studies as drawn
from kdengine.figures import style
from studies.words import axis, scaled, short_name

MIN_TRIALS = 2
MIN_TO_WEIGH = 4
FRONTS = (2, 3)
DRAWS = 30
"""So many draws bound an importance: enough for its first digit, and a fraction of a second."""


def importance(study: Study, metric: str) -> Any:
    """How much of the first metric each setting decides (PED-ANOVA), and between what bounds that lies in nine of ten
    draws of as many trials from these."""
    complete = _complete(study)
    if len(complete) < MIN_TO_WEIGH:
        return _waiting(MIN_TO_WEIGH, "importance")
    several = len(study.directions) > 1
    # With a target Optuna takes less for better.
    sign = -1 if study.directions[0] is StudyDirection.MAXIMIZE else 1
    target = (lambda trial: sign * trial.values[0]) if several else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes")  # low is better: that is why the sign
        figure = visualization.plot_param_importances(study, target=target, target_name=metric)
        bounds = _bounds(study, complete, target)
    figure.update_traces(marker={"color": style.STUDENT}, textfont={"color": style.GREY})
    for bar in figure.data:
        ends = [bounds.get(name, (share, share)) for name, share in zip(bar.y, bar.x, strict=True)]
        bar.error_x = {
            "type": "data", "symmetric": False, "color": style.GREY, "thickness": 1.5,
            "array": [max(0.0, high - share) for (_, high), share in zip(ends, bar.x, strict=True)],
            "arrayminus": [max(0.0, share - low) for (low, _), share in zip(ends, bar.x, strict=True)],
        }  # fmt: skip
        bar.textposition = "none"
    names = _numbers_of(study, complete)
    _dress(figure, "importance", height=90 + 34 * names, margin={"l": 56, "r": 48, "t": 12, "b": 44})
    figure.update_xaxes(title_text=f"share of what decides {axis(metric)}", rangemode="tozero")
    figure.update_yaxes(title_text="", showgrid=False)
    return figure


def _bounds(
    study: Study, complete: list[FrozenTrial], target: Callable[[FrozenTrial], float] | None
) -> dict[str, tuple[float, float]]:
    """Of each setting the 5th and 95th percentile of its share, over draws with replacement from the trials."""
    shares: dict[str, list[float]] = {}
    for seed in range(DRAWS):
        drawn_study = create_study(directions=study.directions, storage=InMemoryStorage())
        drawn_study.add_trials(random.Random(seed).choices(complete, k=len(complete)))
        try:
            found = get_param_importances(drawn_study, target=target)
        except (RuntimeError, ValueError):  # a draw in which nothing varies
            continue
        for name, share in found.items():
            shares.setdefault(name, []).append(share)
    return {name: (_percentile(values, 0.05), _percentile(values, 0.95)) for name, values in shares.items()}


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[round(share * (len(values) - 1))]


def distribution(study: Study, metric: str) -> Any:
    """Which share of the trials is at most as good as a value (the empirical distribution function)."""
    if len(_complete(study)) < MIN_TRIALS:
        return _waiting(MIN_TRIALS, "distribution")
    figure = visualization.plot_edf(study, target=_first(metric), target_name=axis(metric))
    figure.update_traces(line={"color": style.STUDENT, "width": 2}, showlegend=False)
    figure.update_yaxes(title_text="share of the trials")
    return _dress(figure, "distribution")


def timeline(study: Study, metric: str) -> Any:
    """When each trial ran, and what became of it."""
    if len(_complete(study)) < MIN_TRIALS:
        return _waiting(MIN_TRIALS, "timeline")
    return _dress(visualization.plot_timeline(study), "timeline", height=360)


def slices(study: Study, metric: str) -> Any:
    """Each setting against the first metric."""
    if len(_complete(study)) < MIN_TRIALS:
        return _waiting(MIN_TRIALS, "slice")
    figure = visualization.plot_slice(study, target=_first(metric), target_name=axis(metric))
    figure.update_traces(marker={"color": style.STUDENT, "showscale": False, "size": 7})
    _dress(figure, "slice", width=None)
    for each in figure.select_xaxes():
        each.title.text = short_name(each.title.text or "")
    figure.update_xaxes(title_font={"size": 12}, tickfont={"size": 12}, nticks=3)
    return figure


def parallel(study: Study, metric: str) -> Any:
    """Each trial as a line through its settings."""
    if len(_complete(study)) < MIN_TRIALS:
        return _waiting(MIN_TRIALS, "parallel")
    figure = visualization.plot_parallel_coordinate(study, target=_first(metric), target_name=axis(metric))
    _dress(figure, "parallel", margin={"l": 64, "r": 12, "t": 12, "b": 56}, yaxis={"visible": False})
    figure.update_xaxes(
        ticktext=[short_name(text) for text in figure.layout.xaxis.ticktext or ()], tickfont={"size": 12}
    )
    figure.update_annotations(font={"size": 12, "color": style.GREY})
    for line in figure.select_traces({"mode": "lines"}):
        line.update(line={"color": drawn.shade(line.y[0]), "width": 1.6}, opacity=0.85)
    figure.update_traces(marker={"colorscale": "Viridis", "reversescale": False}, selector={"mode": "markers"})
    return figure


def contour(study: Study, metric: str, x: str, y: str) -> Any:
    """Two settings together against the first metric."""
    both = [trial for trial in _complete(study) if x in trial.params and y in trial.params]
    if len(both) < MIN_TRIALS:
        return _waiting(MIN_TRIALS, "contour")
    if x == y:
        return drawn.empty("Choose two different settings.", "contour")
    if any(len({trial.params[name] for trial in both}) < MIN_TRIALS for name in (x, y)):
        return drawn.empty("One of the two has had one value only.", "contour")
    figure = visualization.plot_contour(study, [x, y], target=_first(metric), target_name=axis(metric))
    # Optuna sorts the two; the titles say which is where.
    figure.update_traces(colorscale="Viridis", reversescale=False, selector={"type": "contour"})
    figure.update_traces(marker={"color": "#ffffff", "line": {"color": "#1f2328", "width": 1}, "size": 7},
                         selector={"type": "scatter"})  # fmt: skip
    return _dress(figure, f"contour-{x}-{y}", height=360)


def front(study: Study, metrics: tuple[str, ...]) -> Any:
    """What none of the goals can gain without another's loss."""
    if len(metrics) not in FRONTS:
        words = "A front is drawn for two or three goals; this study has " + ("one." if len(metrics) == 1 else "more.")
        return drawn.empty(words, "front")
    if len(_complete(study)) < MIN_TRIALS:
        return _waiting(MIN_TRIALS, "front")

    def targets(trial: FrozenTrial) -> list[float]:
        return [scaled(metric, value) for metric, value in zip(metrics, trial.values, strict=True)]

    figure = visualization.plot_pareto_front(study, targets=targets, target_names=[axis(metric) for metric in metrics])
    for trace, colour, name in zip(figure.data, (style.GREY, style.STUDENT), ("other trials", "front"), strict=True):
        trace.update(marker={"color": colour, "showscale": False, "size": 8}, name=name, showlegend=True)
    return _dress(figure, "front", height=360)


def _first(metric: str) -> Callable[[FrozenTrial], float]:
    return lambda trial: scaled(metric, trial.values[0])


def _complete(study: Study) -> list[FrozenTrial]:
    found: list[Any] = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return found


def _numbers_of(study: Study, complete: list[FrozenTrial]) -> int:
    return len({name for trial in complete for name in trial.params})


def _waiting(count: int, key: str) -> Any:
    words = {MIN_TRIALS: "two", MIN_TO_WEIGH: "four"}[count]
    return drawn.empty(f"Drawn from {words} complete trials on.", key)


def _dress(figure: Any, key: str, height: int = 320, **more: Any) -> Any:
    """The style of all figures over what Optuna drew; titles of its axes stay."""
    shared = style.layout(x="", y="", key=f"study-{key}", height=height, hovermode="closest")
    axes = {"xaxis": shared.pop("xaxis"), "yaxis": shared.pop("yaxis")}
    for each in axes.values():
        each.pop("title")
    figure.update_layout(shared | {"title": None} | more)
    figure.update_xaxes(axes["xaxis"])
    figure.update_yaxes(axes["yaxis"])
    return figure
