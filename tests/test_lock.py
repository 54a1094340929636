"""The lock between processes: taken when it gets free in time, refused when it does not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from kdengine.workspace import files


def test_a_lock_that_gets_free_in_time_is_taken(tmp_path: Path) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with files.lock(tmp_path / "lock"):
            held.set()
            release.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    threading.Timer(0.3, release.set).start()
    with files.lock(tmp_path / "lock", blocking=False, wait_s=60) as mine:
        assert mine
    thread.join()


def test_a_lock_that_stays_taken_is_refused_after_the_wait(tmp_path: Path) -> None:
    with files.lock(tmp_path / "lock") as first:
        assert first
        for wait_s in (0.0, 0.3):
            began = time.monotonic()
            with files.lock(tmp_path / "lock", blocking=False, wait_s=wait_s) as mine:
                assert not mine
            assert wait_s <= time.monotonic() - began < wait_s + 30
