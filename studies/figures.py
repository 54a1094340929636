"""Optuna's own figures in the look of the others: which settings matter, where the good values lie, what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optuna import visualization
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from kdengine.figures import studies as drawn
from kdengine.figures import style
from studies.words import axis, scaled, short_name

FEWEST = 2
FEWEST_TO_WEIGH = 4
FRONTS = (2, 3)


def importance(study: Study, metric: str) -> Any:
    """How much of the first metric each setting decides (PED-ANOVA)."""
    complete = _complete(study)
    if len(complete) < FEWEST_TO_WEIGH:
        return _waiting(FEWEST_TO_WEIGH, "importance")
    several = len(study.directions) > 1
    # With a target Optuna takes less for better.
    sign = -1 if study.directions[0] is StudyDirection.MAXIMIZE else 1
    target = (lambda trial: sign * trial.values[0]) if several else None
    figure = visualization.plot_param_importances(study, target=target, target_name=metric)
    figure.update_traces(marker={"color": style.STUDENT}, textfont={"color": style.GREY})
    names = _numbers_of(study, complete)
    _dress(figure, "importance", height=90 + 34 * names, margin={"l": 56, "r": 48, "t": 12, "b": 44})
    figure.update_xaxes(title_text=f"share of what decides {axis(metric)}", rangemode="tozero")
    figure.update_yaxes(title_text="", showgrid=False)
    return figure


def slices(study: Study, metric: str) -> Any:
    """Each setting against the first metric."""
    if len(_complete(study)) < FEWEST:
        return _waiting(FEWEST, "slice")
    figure = visualization.plot_slice(study, target=_first(metric), target_name=axis(metric))
    figure.update_traces(marker={"color": style.STUDENT, "showscale": False, "size": 7})
    _dress(figure, "slice", width=None)
    for each in figure.select_xaxes():
        each.title.text = short_name(each.title.text or "")
    figure.update_xaxes(title_font={"size": 11}, tickfont={"size": 10}, nticks=4)
    return figure


def parallel(study: Study, metric: str) -> Any:
    """Each trial as a line through its settings."""
    if len(_complete(study)) < FEWEST:
        return _waiting(FEWEST, "parallel")
    figure = visualization.plot_parallel_coordinate(study, target=_first(metric), target_name=axis(metric))
    _dress(figure, "parallel", margin={"l": 64, "r": 12, "t": 12, "b": 56}, yaxis={"visible": False})
    figure.update_xaxes(
        ticktext=[short_name(text) for text in figure.layout.xaxis.ticktext or ()], tickfont={"size": 11}
    )
    figure.update_annotations(font={"size": 10, "color": style.GREY})
    for line in figure.select_traces({"mode": "lines"}):
        line.update(line={"color": drawn.shade(line.y[0]), "width": 1.6}, opacity=0.85)
    figure.update_traces(marker={"colorscale": "Viridis", "reversescale": False}, selector={"mode": "markers"})
    return figure


def contour(study: Study, metric: str, x: str, y: str) -> Any:
    """Two settings together against the first metric."""
    both = [trial for trial in _complete(study) if x in trial.params and y in trial.params]
    if len(both) < FEWEST:
        return _waiting(FEWEST, "contour")
    if x == y:
        return drawn.empty("Choose two different settings.", "contour")
    if any(len({trial.params[name] for trial in both}) < FEWEST for name in (x, y)):
        return drawn.empty("One of the two has had one value only.", "contour")
    figure = visualization.plot_contour(study, [x, y], target=_first(metric), target_name=axis(metric))
    # Optuna sorts the two; which lies where is told by the titles.
    figure.update_traces(colorscale="Viridis", reversescale=False, selector={"type": "contour"})
    figure.update_traces(marker={"color": "#ffffff", "line": {"color": "#1f2328", "width": 1}, "size": 7},
                         selector={"type": "scatter"})  # fmt: skip
    return _dress(figure, f"contour-{x}-{y}", height=360)


def front(study: Study, metrics: tuple[str, ...]) -> Any:
    """What none of the goals can gain without another's loss."""
    if len(metrics) not in FRONTS:
        words = "A front is drawn for two or three goals; this study has " + ("one." if len(metrics) == 1 else "more.")
        return drawn.empty(words, "front")
    if len(_complete(study)) < FEWEST:
        return _waiting(FEWEST, "front")

    def targets(trial: FrozenTrial) -> list[float]:
        return [scaled(metric, value) for metric, value in zip(metrics, trial.values, strict=True)]

    figure = visualization.plot_pareto_front(study, targets=targets, target_names=[axis(metric) for metric in metrics])
    for trace, colour, name in zip(figure.data, (style.GREY, style.STUDENT), ("other trials", "front"), strict=True):
        trace.update(marker={"color": colour, "showscale": False, "size": 8}, name=name, showlegend=True)
    return _dress(figure, "front", height=360)


def _first(metric: str) -> Callable[[FrozenTrial], float]:
    return lambda trial: scaled(metric, trial.values[0])


def _complete(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _numbers_of(study: Study, complete: list[FrozenTrial]) -> int:
    return len({name for trial in complete for name in trial.params})


def _waiting(count: int, key: str) -> Any:
    words = {FEWEST: "two", FEWEST_TO_WEIGH: "four"}[count]
    return drawn.empty(f"Drawn from {words} complete trials on.", key)


def _dress(figure: Any, key: str, height: int = 320, **more: Any) -> Any:
    """The look of all figures over what Optuna drew; titles of its axes stay."""
    shared = style.layout(x="", y="", key=f"study-{key}", height=height, hovermode="closest")
    axes = {"xaxis": shared.pop("xaxis"), "yaxis": shared.pop("yaxis")}
    for each in axes.values():
        each.pop("title")
    figure.update_layout(shared | {"title": None} | more)
    figure.update_xaxes(axes["xaxis"])
    figure.update_yaxes(axes["yaxis"])
    return figure
