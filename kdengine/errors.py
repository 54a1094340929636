"""Errors whose text is meant for the person who caused or meets them, and the exit code each ends a command with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class KdError(Exception):
    """A failure with a message that says what was found, what was expected and what to do. Exit code 3."""

    exit_code = 3
    failure_class = "unknown"
    advice = ""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and the field (dotted path, "" = none in particular) that it belongs to."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class BadInput(KdError, ValueError):
    """The request itself is wrong: nothing was started or written. Names every problem at once. Exit code 2."""

    exit_code = 2
    failure_class = "config"

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem("", problems)
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def every(checks: Iterable[Callable[[], T]]) -> list[T]:
    """What each of the checks returns, in their order; raises BadInput with the problems of all, each once."""
    found, problems = [], []
    for check in checks:
        try:
            found.append(check())
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))
    return found


class DataError(KdError):
    """The data cannot be read or does not fit what was asked: corrupt image, wrong checksum, empty class."""

    exit_code = 2
    failure_class = "data"
    advice = "Repair or remove the file named above, then launch again."

    def __init__(self, problems: str | Iterable[str]) -> None:
        """``problems``: one, which may have several lines, or each of several."""
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DataChanged(BadInput):
    """The data of a run that is opened again are no longer those it was trained on, and nobody has accepted that."""

    failure_class = "data_changed"
    advice = "Put the data back as they were and resume; or resume with the data as they are now."


class DamagedFile(KdError, ValueError):
    """A file of the workspace holds something else than was written there: cut short, overwritten, of a wrong kind."""

    failure_class = "data"
    advice = "Put back a copy of the file, or delete what it belongs to."


class DiskFull(KdError):
    """No space is left where the workspace lies."""

    failure_class = "disk_full"
    advice = "Free some space (delete old runs on the Runs page), then resume."


class NonFiniteLoss(KdError):
    """A loss term became NaN or infinite; the last good checkpoint is kept."""

    failure_class = "nan_loss"
    advice = "Resume with a lower learning rate or a longer warm-up, or switch bf16 off."


class Stopped(KdError):
    """The run was asked to stop and has written a checkpoint. Exit code 130 (Ctrl-C) or 143 (SIGTERM)."""

    failure_class = "stopped"

    def __init__(self, signal_number: int) -> None:
        self.exit_code = 128 + signal_number
        super().__init__("stopped on request; a checkpoint was written")
