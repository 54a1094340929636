"""What was measured on this kind of processor, in a file of the workspace's cache.

The file says what it was measured on: processor, PyTorch and threads. One of another machine, of another version or
that holds anything else than times is not used, and written anew. One process measures at a time, others wait for it
and read what it found.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kdengine.errors import KdError
from kdengine.machine.processor import processor
from kdengine.workspace import files

log = logging.getLogger(__name__)

FORMAT = 1
WAIT_S = 30.0
"""So long one waits for another process that measures; then one measures by oneself and keeps it to oneself."""

Times = dict[str, float]
"""Least seconds of each candidate, by its name."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: int
    processor: str
    torch: str
    threads: int
    measured: dict[str, dict[str, float]] = Field(default_factory=dict)


class MeasuredTimes:
    """Times by what was timed, for this processor, PyTorch and number of threads; inside `open_times`.

    Args:
        path: of the file.
        kept: whether what is added is written.
    """

    def __init__(self, path: Path, kept: bool) -> None:
        self.path = path
        self._kept = kept
        self._content = _read(path)

    def get(self, what: str, candidates: set[str]) -> Times | None:
        """Times of exactly these candidates; None where they are not there or cannot be times."""
        found = self._content.measured.get(what)
        sound = found is not None and set(found) == candidates and all(seconds > 0 for seconds in found.values())
        return found if sound else None

    def get_or_measure(self, what: str, candidates: set[str], measure: Callable[[], Times]) -> Times:
        """Times of exactly these candidates, measured where they are not there; {} is kept of nothing measured."""
        times = self.get(what, candidates)
        if times is None:
            times = measure()
            if times:
                self.put(what, times)
        return times

    def put(self, what: str, times: Times) -> None:
        """Keeps times."""
        self._content.measured[what] = times
        if not self._kept:
            return
        try:
            files.write_json(self.path, self._content.model_dump())
        except KdError as error:
            self._kept = False
            log.warning("what was measured is not kept, which costs the next run a second: %s", error)


@contextmanager
def open_times(cache: Path) -> Iterator[MeasuredTimes]:
    """The times of this machine in ``<cache>/speed``; alone as long as it is open."""
    path = cache / "speed" / f"{processor().slug}-{torch.get_num_threads()}-threads.json"
    with files.lock(path.with_suffix(".lock"), blocking=False, wait_s=WAIT_S) as alone:
        if not alone:
            log.warning("another process has been measuring for %.0f s; what is measured now is not kept", WAIT_S)
        yield MeasuredTimes(path, kept=alone)


def _read(path: Path) -> _File:
    here = _File(format=FORMAT, processor=processor().slug, torch=torch.__version__, threads=torch.get_num_threads())
    try:
        found = _File.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return here
    except (OSError, ValueError, ValidationError) as error:
        log.warning("%s is not used (%s); it is measured anew", path, str(error).splitlines()[0])
        return here
    if here.model_copy(update={"measured": found.measured}) != found:
        log.info("%s was measured with another version or machine; it is measured anew", path)
        return here
    return found
