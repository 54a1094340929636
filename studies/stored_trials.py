"""The trials of a study as its storage has them: read once, and once more after each change that is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState


class StoredTrials:
    """What a controller reads and changes of trials; reading them is most of what it does on a server.

    Args:
        study: opened in its storage.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._read: list[FrozenTrial] | None = None

    def all(self) -> list[FrozenTrial]:
        """All trials, by their numbers."""
        if self._read is None:
            self._read = self._study.get_trials(deepcopy=False)
        return self._read

    def forget(self) -> None:
        """They are read again when they are asked for next: others may have changed them."""
        self._read = None

    def live(self, trial: FrozenTrial) -> Trial:
        """The trial to be written to, before any is read again."""
        self.forget()
        return Trial(self._study, trial._trial_id)

    def ask(self) -> Trial:
        """A new trial, or one that waits."""
        self.forget()
        return self._study.ask()

    def enqueue(self, params: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """A trial that waits with these values."""
        self.forget()
        self._study.enqueue_trial(dict(params), user_attrs=dict(attributes))

    def tell(self, number: int, values: Sequence[float] | None, state: TrialState, *, again: bool = False) -> None:
        """How a trial ended; ``again`` = nothing is wrong where it has ended already."""
        self._study.tell(number, values, state, skip_if_finished=again)
        self.forget()
