"""A child process ends with its parent, also with one that was gone before the child could look."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from support import PATIENCE_S

CHILD = """
import sys, time
from kdengine.processes import live_with_parent

live_with_parent(int(sys.argv[1]), 0.05)
print("up", flush=True)
time.sleep(0.5)
print("still up", flush=True)
time.sleep(10_000)
"""


def child(parent: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(parent)], stdout=subprocess.PIPE, text=True)


def test_it_lives_as_long_as_its_parent_and_leaves_ctrl_c_to_it() -> None:
    with child(os.getpid()) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "still up\n"
        process.kill()


def test_it_ends_when_its_parent_was_gone_before_it_looked() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with child(gone.pid) as process:
        assert process.wait(PATIENCE_S) == 0
