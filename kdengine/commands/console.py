"""What a person at the shell sees of a run: a bar on a terminal, one line an epoch elsewhere, all in log.txt."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from kdengine.workspace.rundir import RunDirectory

REFRESH_S = 0.5


def add_data_changed(parser: argparse.ArgumentParser) -> None:
    """Adds the word by which a person goes on although the data of a run changed since it was trained."""
    parser.add_argument(
        "--data-changed", choices=("accept",), help="go on although the data changed since the run was trained"
    )


@contextmanager
def training(run: RunDirectory) -> Iterator[None]:
    """Logs to the run's log.txt and, on a terminal, draws a bar from its status."""
    handler = _LogFile(run.log_file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        if sys.stderr.isatty():
            with _bar(run):
                yield
        else:
            yield
    finally:
        root.removeHandler(handler)
        handler.close()


class _LogFile(logging.FileHandler):
    """The log of a run. Where it cannot be written, on a full disk, that is said once; status.json holds the end."""

    _said = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Says on stderr that the log stays behind; the default prints a traceback for each line."""
        if not self._said:
            self._said = True
            sys.stderr.write(f"kd: {self.baseFilename} cannot be written ({sys.exc_info()[1]}); the log is cut short\n")

    def close(self) -> None:
        """Never raises: what could not be written must not hide the error that ended the run."""
        with suppress(OSError):
            super().close()


@contextmanager
def _bar(run: RunDirectory) -> Iterator[None]:
    from rich.console import Console
    from rich.logging import RichHandler
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    root = logging.getLogger()
    plain = [handler for handler in root.handlers if type(handler) is logging.StreamHandler]
    rich = RichHandler(console=console, show_path=False, show_level=False, show_time=False)
    for handler in plain:
        root.removeHandler(handler)
    root.addHandler(rich)
    done = threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[info]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=1.0, info="")

        def follow() -> None:
            while not done.wait(REFRESH_S):
                status = run.status()
                at = status.get("progress")
                if at and at["steps"]:
                    share = (at["epoch"] + at["step"] / at["steps"]) / at["epochs"]
                    epoch, speed = min(at["epoch"] + 1, at["epochs"]), status.get("images_per_s", 0)
                    info = f"epoch {epoch}/{at['epochs']}  {speed:.0f} images/s"
                    progress.update(task, completed=share, info=info)
                progress.update(task, description=status.get("phase", ""))

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            root.removeHandler(rich)
            for handler in plain:
                root.addHandler(handler)


@contextmanager
def waiting() -> Iterator[Callable[[str], object]]:
    """A function that shows what is waited for, on a terminal; one that does nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update
