"""Settings that many methods have: their bounds, ranges for tuning and words, said once.

Each is a `kdengine.spec.fields.setting` with most of it filled in; default and source are the method's own. What is
named here can be given differently, and anything else that `setting` takes as well.
"""

from __future__ import annotations

from typing import Any

from kdengine.spec.fields import setting

Range = tuple[float, float] | None


def temperature_setting(
    default: float = 4.0,
    *,
    source: str,
    title: str = "Temperature",
    description: str = "Softens the logits of both networks before they are compared.",
    tune: Range = (1.0, 10.0),
    **more: Any,
) -> Any:
    """T of a softmax, in 0 (excluded) .. 100; searched on a logarithmic scale."""
    bounds: dict[str, Any] = {"gt": 0, "le": 100} | more
    return setting(default, title=title, description=description, source=source, tune=tune, log=_log(tune), **bounds)


def weight_setting(
    default: float = 1.0, *, title: str, description: str, source: str, tune: Range = None, **more: Any
) -> Any:
    """Weight of a loss term, in 0 .. 100; searched on a logarithmic scale unless the range begins at 0."""
    bounds: dict[str, Any] = {"ge": 0, "le": 100} | more
    return setting(default, title=title, description=description, source=source, tune=tune, log=_log(tune), **bounds)


def label_weight_setting(
    default: float = 1.0,
    *,
    source: str,
    description: str = "Weight of the cross-entropy with the labels.",
    tune: Range = None,
) -> Any:
    """Weight of the cross-entropy with the labels, in 0 .. 100."""
    return weight_setting(default, title="Label weight", description=description, source=source, tune=tune)


def share_setting(default: float, *, title: str, description: str, source: str, tune: Range = None, **more: Any) -> Any:
    """A share, in 0 .. 1; searched on a linear scale."""
    bounds: dict[str, Any] = {"ge": 0, "le": 1} | more
    return setting(default, title=title, description=description, source=source, tune=tune, **bounds)


def warm_up_setting(
    default: float = 1 / 12,
    *,
    source: str,
    description: str = "Share of the run in which the distillation terms rise linearly to their weight.",
    tune: Range = (0.0, 0.5),
) -> Any:
    """Share of the run in which terms rise (`kdengine.methods.warm_up`), in 0 .. 1."""
    return share_setting(default, title="Warm-up", description=description, source=source, tune=tune)


def group_setting(
    default: int = 64,
    *,
    source: str,
    description: str = "Relate at most so many samples of a batch to each other; larger batches are split.",
) -> Any:
    """Largest group of samples that are related to each other (`kdengine.losses.relations.in_groups`), 8 .. 8192."""
    return setting(
        default, title="Group", unit="samples", description=description, source=source, ge=8, le=8192, advanced=True
    )


def _log(tune: Range) -> bool:
    return tune is not None and tune[0] > 0
