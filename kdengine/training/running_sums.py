"""Sums of the loss terms over an epoch, on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdengine.methods.base import Term

NEVER = 1 << 62


class RunningSums:
    """Sums of every loss term over an epoch, kept on the device; reading them is the only synchronisation."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.totals: Tensor | None = None
        self.reported: Tensor | None = None
        self.broken_at: Tensor | None = None
        self.steps = 0
        self.steps_reported = 0

    @torch.no_grad()
    def add(self, terms: dict[str, Term]) -> None:
        """Adds raw and weighted value of each term of one step."""
        now = torch.stack([value.detach().double() for term in terms.values() for value in (term.raw, term.weighted)])
        self.names = list(terms)
        self.totals = now if self.totals is None else self.totals + now
        before = torch.full_like(now, NEVER, dtype=torch.int64) if self.broken_at is None else self.broken_at
        self.broken_at = torch.where(torch.isfinite(now), before, before.clamp(max=self.steps))
        self.steps += 1

    def means(self) -> dict[str, tuple[float, float]]:
        """name -> (mean raw, mean weighted) over the epoch so far."""
        return {} if self.totals is None else self._by_name((self.totals / max(1, self.steps)).tolist())

    def window(self) -> tuple[dict[str, tuple[float, float]], list[str]]:
        """The same over the steps since this was last called; and the terms that were the first not to be finite.

        The device is asked once for both. A step later all terms are broken.
        """
        if self.totals is None or self.broken_at is None:
            return {}, []
        totals = self.totals if self.reported is None else self.totals - self.reported
        means = totals / max(1, self.steps - self.steps_reported)
        # As float64, which holds every number of a step, and NEVER, a power of two.
        values = torch.cat([means, self.broken_at.double()]).tolist()
        self.reported, self.steps_reported = self.totals, self.steps
        steps = [min(pair) for pair in self._by_name(values[len(means) :]).values()]
        broken = [name for name, step in zip(self.names, steps, strict=True) if step == min(steps) != NEVER]
        return self._by_name(values[: len(means)]), broken

    def _by_name(self, values: list[float]) -> dict[str, tuple[float, float]]:
        return {name: (values[2 * i], values[2 * i + 1]) for i, name in enumerate(self.names)}

    def state_dict(self) -> dict[str, Any]:
        """Everything, for the checkpoint."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Sets what `state_dict` gave; the sums go on on the device."""
        vars(self).update({name: _on(value, device) for name, value in state.items()})


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def readable(means: dict[str, tuple[float, float]]) -> dict[str, dict[str, float]]:
    """The means as an event writes them."""
    return {name: {"raw": raw, "weighted": weighted} for name, (raw, weighted) in means.items()}
