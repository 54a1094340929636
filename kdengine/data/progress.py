"""Progress bars on stderr, silent when nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(
    description: str, total: int | None, *, bytes_: bool = False, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the amount done since the last call; it draws only on a terminal.

    Args:
        description: what is going on, a few words.
        total: amount in all; None when not known.
        bytes_: whether the amount is bytes (shown as such, with the speed).
        done: amount done before (a resumed download).
    """
    if not sys.stderr.isatty():
        yield lambda amount: None
        return
    from rich import progress as bars
    from rich.console import Console

    counts: list[bars.ProgressColumn] = (
        [bars.DownloadColumn(), bars.TransferSpeedColumn()] if bytes_ else [bars.MofNCompleteColumn()]
    )
    columns = [bars.TextColumn("{task.description}"), bars.BarColumn(), *counts, bars.TimeRemainingColumn()]
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total, completed=done)
        yield lambda amount: bar.advance(task, amount)
